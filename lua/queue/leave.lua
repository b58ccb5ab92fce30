#!lua
-- leave: takes a person out of the room wherever they are; a slot they had is free at once.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: who is gone is gone
-- KEYS     [1..9] the room's keys, see room.lua
-- ARGV     [1..9] the room's arguments, see room.lua
--          [10] user
-- RETURNS  epoch, now_ms, 1 if they were in the room, 0 if not
-- COST     O(log n), 8 commands
ensure_room()
local user = ARGV[10]
local was_in = redis.call('ZREM', WAITING, user) + redis.call('ZREM', AWAY, user)
  + redis.call('ZREM', OFFERS, user) + redis.call('ZREM', LEASES, user)
redis.call('ZREM', PRESENT, user)
redis.call('HDEL', PASSES, user)
redis.call('ZREM', EXPIRED, user)
redis.call('ZADD', LEFT, now, user)
return { room.epoch, now, was_in > 0 and 1 or 0 }
