#!lua
-- complete: ends the rebuild of an epoch: everybody whom the record and the gateways know is back.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: a rebuild ends once
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] epoch: the one that is rebuilt; another one, or a room that is not being rebuilt, changes nothing
-- RETURNS  epoch, now_ms, version, 1 where this call ended it; or LOST, see room.lua
-- COST     about 6 commands
if is_lost then return LOST end
local ended = 0
if room.rebuilding and tonumber(ARGV[7]) == room.epoch then
  ended, room.rebuilding = 1, false
  redis.call('UNLINK', WORDS)
  redis.call('HSET', ROOM, 'rebuilding', 0)
  if room.rebuilt_up_to == 0 then
    redis.call('HSET', ROOM, 'return_until_ms', string.format('%.0f', now + RETURN_MS))
  end
  if room.draw == 'dealing' and redis.call('ZCARD', GATHERED) == 0 then room.draw = 'done' end
  note('rebuilt', '-', room.seq)
  save()
end
local reply = head()
reply[4] = ended
return reply
