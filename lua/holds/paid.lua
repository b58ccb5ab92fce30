#!lua
-- paid: ends the admission of someone who has paid for everything they held, where the room is set so.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: who is gone is gone
-- KEYS     [1] the concert's waiting room (hash: settings as JSON …), only read
--          [2] its leases  [3] its passes  [4] its caps  [5] who left  [6] its stream of events; see queue/room.lua
-- ARGV     [1] user  [2] now in ms, 0 for Redis' own time
-- RETURNS  1 where an admission was ended, else 0
-- COST     O(log n), at most 8 commands
local ROOM, LEASES, PASSES, CAPS, LEFT, EVENTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local EVENTS_MAX = 200000
local user, now_ms = ARGV[1], tonumber(ARGV[2])
if now_ms == 0 then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end

local room = redis.call('HMGET', ROOM, 'epoch', 'settings')
if not room[2] or not cjson.decode(room[2]).leaveOnPayment then return 0 end
if redis.call('ZREM', LEASES, user) == 0 then return 0 end
local position = string.match(redis.call('HGET', PASSES, user) or '0', '^%d+')
redis.call('HDEL', PASSES, user)
redis.call('HDEL', CAPS, user)
redis.call('ZADD', LEFT, now_ms, user)
redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, '*', 'at', string.format('%.0f', now_ms), 'epoch', room[1],
  'events', 'paid ' .. user .. ' ' .. position)
return 1
