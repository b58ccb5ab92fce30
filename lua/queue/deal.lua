#!lua
-- deal: gives people in the draw the positions that it dealt them.
--
-- ATOMIC   all of it; per person it is compare-and-move, by the entry that the position was dealt to
-- RETRY    safe at any time: a person with a position keeps it
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7..] three for each person: user, entry, position
-- RETURNS  epoch, now_ms, version, how many still have no position; or LOST, see room.lua
-- COST     O(log n) a person; 3 commands each
if is_lost then return LOST end
update_draw()
if room.draw == 'dealing' then
  for i = 7, #ARGV, 3 do
    local user, entry, position = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    if tonumber(redis.call('ZSCORE', GATHERED, user)) == entry then
      redis.call('ZREM', GATHERED, user)
      redis.call('ZADD', WAITING, position, user)
      note('dealt', user, position, entry)
    end
  end
end
local undealt = redis.call('ZCARD', GATHERED)
if room.draw == 'dealing' and undealt == 0 and not room.rebuilding then room.draw = 'done' end
save()
local reply = head()
reply[4] = undealt
return reply
