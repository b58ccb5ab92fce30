#!lua
-- present: notes that people near the front are there, one call for all whom a gateway has seen since its last.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: a later time is never replaced by an earlier one
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9..] two for each person: user, and for how many ms from now they count as present
-- RETURNS  how many of them are in line
-- COST     O(log n) a person; 1 command each and 1 for each of them in line
local in_line = 0
for i = 9, #ARGV, 2 do
  -- Someone who left meanwhile must not leave a record behind that nothing would ever remove.
  if redis.call('ZSCORE', WAITING, ARGV[i]) then
    in_line = in_line + 1
    redis.call('ZADD', PRESENT, 'GT', now + tonumber(ARGV[i + 1]), ARGV[i])
  end
end
return in_line
