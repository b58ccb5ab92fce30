#!lua
-- release: takes locks away from seats, each only where it still is the very one meant.
--
-- ATOMIC   all of it; per seat it is compare-and-delete, so that a late release can't take a later holder's lock
-- RETRY    safe at any time: what is gone is gone
-- KEYS     [1..] one lock per seat, all of one concert
-- ARGV     [1..] the value each lock has to have, `user:fence`, one per key
-- RETURNS  how many were released
-- COST     O(seats), 1 command per seat and 1 more per release
local released = 0
for n = 1, #KEYS do
  if redis.call('GET', KEYS[n]) == ARGV[n] then
    released = released + redis.call('DEL', KEYS[n])
  end
end
return released
