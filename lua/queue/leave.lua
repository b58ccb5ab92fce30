#!lua
-- leave: takes a person out of the room wherever they are; a place inside is free at once.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: a person who is gone is gone
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] user  [8] what happened: 'left' or 'removed'  [9] the position that their token names, 0 where it is not known
-- RETURNS  epoch, now_ms, version, 1 if they were in the room or 0, their position or 0; or LOST, see room.lua
-- COST     O(log n), about 14 commands
if is_lost then return LOST end
local user = ARGV[7]
local position = take_out(user)
local at = position or ARGV[9]
mark_ended(LEFT, user, at)
-- Noted also of a person whom the room does not know: after a loss only the record may know them, and while the room is rebuilt
-- no older word brings them back.
if position or tonumber(at) > 0 then note(ARGV[8], user, at) end
if room.rebuilding then
  local word = string.format('%.0f %.0f left %s 0 0 0', room.epoch, room.version + 1, at)
  redis.call('HSET', WORDS, user, word)
end
save()
local reply = head()
reply[4], reply[5] = position and 1 or 0, tonumber(at)
return reply
