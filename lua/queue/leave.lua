#!lua
-- leave: takes a person out of the room wherever they are; a slot they had is free at once.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: who is gone is gone
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] user  [10] what happened: 'left' or 'removed'
-- RETURNS  epoch, now_ms, changes, 1 if they were in the room, 0 if not
-- COST     O(log n), about 14 commands
ensure_room()
local user = ARGV[9]
local position = take_out(user)
redis.call('ZREM', EXPIRED, user)
redis.call('ZADD', LEFT, now, user)
-- Told even of someone whom the room does not know: after a loss only the record knows them.
if position or room.rebuilding then note(ARGV[10], user, position or 0) end
save()
return { room.epoch, now, room.changes, position and 1 or 0 }
