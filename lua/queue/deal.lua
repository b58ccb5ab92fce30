#!lua
-- deal: gives people who take part in the draw the positions that it dealt them.
--
-- ATOMIC   all of it; per person it is compare-and-move, by the entry that the position was dealt to
-- RETRY    safe at any time: who has a position keeps it
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9..] three for each person: user, entry, position
-- RETURNS  epoch, now_ms, changes, how many still have no position
-- COST     O(log n) a person; 3 commands each
ensure_room()
if room.draw == 'dealing' then
  for i = 9, #ARGV, 3 do
    local user, entry, position = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    if tonumber(redis.call('ZSCORE', GATHERED, user)) == entry then
      redis.call('ZREM', GATHERED, user)
      redis.call('ZADD', WAITING, position, user)
      note('dealt', user, position, entry)
    end
  end
end
local undealt = redis.call('ZCARD', GATHERED)
if room.draw == 'dealing' and undealt == 0 then room.draw = 'done' end
save()
return { room.epoch, now, room.changes, undealt }
