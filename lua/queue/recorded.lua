#!lua flags=allow-oom
-- recorded: drops entries of the stream of events that are written to the record.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: an entry is dropped once
-- KEYS     [1] the room  [2] its events, see room.lua
-- ARGV     [1] how many bytes of events the entries hold  [2..] their ids
-- RETURNS  how many entries were dropped
-- COST     O(entries), 3 commands
local ROOM, EVENTS = KEYS[1], KEYS[2]
local dropped = redis.call('XDEL', EVENTS, unpack(ARGV, 2))
if dropped > 0 and redis.call('EXISTS', ROOM) == 1 then
  local bytes = tonumber(redis.call('HGET', ROOM, 'event_bytes')) or 0
  local rest = redis.call('XLEN', EVENTS) == 0 and 0 or math.max(0, bytes - tonumber(ARGV[1]))
  redis.call('HSET', ROOM, 'event_bytes', rest)
end
return dropped
