#!lua
-- reinstate: puts one person back whom a rebuild could not know: only their own token, or the record by now, knows them.
--
-- ATOMIC   all of it: a person whom the room knows, or knows to have ended, stays as they are
-- RETRY    safe at any time: the second call finds them known
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] epoch in which the room did not know them; another one changes nothing
--          [8] kind ('waiting', 'entered', 'away', 'admitted', 'left', 'expired')  [9] user  [10] position  [11] nonce
--          [12] the lease's end and [13] its cap in ms, 0 where they have none
-- RETURNS  epoch, now_ms, version, 1 where it put them somewhere; or LOST, see room.lua
-- COST     O(log n), about 14 commands
if is_lost then return LOST end
local kind, user, position = ARGV[8], ARGV[9], tonumber(ARGV[10])
local is_known = redis.call('HEXISTS', PASSES, user) == 1 or ended(user, position)
for _, set in ipairs({ WAITING, AWAY, GATHERED }) do is_known = is_known or redis.call('ZSCORE', set, user) end
local done = 0
if tonumber(ARGV[7]) == room.epoch and not is_known then
  done = put(kind, user, position, tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]))
  -- While the room is rebuilt, what a gateway retold of them before is older than this.
  if room.rebuilding then
    redis.call('HSET', WORDS, user, string.format('%.0f %.0f settled %d 0 0 0', room.epoch, room.version + 1, position))
  end
  if done == 1 and kind ~= 'admitted' then note(is_undrawn() and 'entered' or 'restored', user, position) end
  save()
end
local reply = head()
reply[4] = done
return reply
