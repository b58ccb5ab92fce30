#!lua
-- restore: puts people back whom the record or a gateway knows, while the room is rebuilt.
--
-- A page of the record leaves alone the people of whom a word is kept (see retell.lua): those are settled with both at hand.
-- It also leaves alone everybody up to `rebuilt_up_to`: the front goes on meanwhile, and a rebuilder that takes over from
-- another one begins with the first page.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: a person is put where they were put before
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] epoch: the one that is rebuilt; another one, or a room that is not being rebuilt, changes nothing
--          [8] what these are: 'page' of the record, 'changed' rows of it after a rollback, or settled 'words'
--          [9] rebuilt_up_to: up to which position everybody is back after this, 0 to leave it
--          [10] the draw as it was: '', 'pending', 'dealing', 'done'  [11] its number of entries
--          [12] w: how many people in line follow; [13..] two for each of those: user, position
--          then eight for each further person: kind ('waiting', 'entered', 'away', 'admitted', 'left', 'expired'), user,
--          position, nonce, the lease's end and its cap in ms (0 where they have none), epoch and version of the word
-- RETURNS  epoch, now_ms, version, 1 where the epoch is being rebuilt or 0, how many people are in the room by this; or
--          LOST, see room.lua
-- COST     O(log n) a person; 1 command for each in line, about 10 for each further one
if is_lost then return LOST end
local reply
if not room.rebuilding or tonumber(ARGV[7]) ~= room.epoch then
  reply = head()
  reply[4], reply[5] = 0, 0
  return reply
end
local is_page, up_to = ARGV[8] == 'page', tonumber(ARGV[9])
if ARGV[10] == 'dealing' or ARGV[10] == 'done' then
  if room.draw == '' or room.draw == 'pending' then room.draw, room.entries = ARGV[10], tonumber(ARGV[11]) end
end
local EVENT = { waiting = 'restored', entered = 'entered', away = 'absent', left = 'left', expired = 'expired' }
local function note_word(kind, user, position, nonce, lease_end, cap_ms)
  if kind == 'admitted' then
    note(kind, user, position, nonce .. ' ' .. lease_end .. ' ' .. cap_ms)
  elseif tonumber(position) > 0 then
    note(EVENT[kind], user, position)
  end
end

local has_words = is_page and redis.call('EXISTS', WORDS) == 1
local restored, first, in_line = 0, 13, tonumber(ARGV[12])

if in_line > 0 then
  local users = {}
  for i = first, first + 2 * in_line - 1, 2 do users[#users + 1] = ARGV[i] end
  local words = has_words and redis.call('HMGET', WORDS, unpack(users)) or {}
  local passes = redis.call('HMGET', PASSES, unpack(users))
  local places, highest = {}, room.seq
  for n, user in ipairs(users) do
    local position = ARGV[first + 2 * n - 1]
    highest = math.max(highest, tonumber(position))
    local is_back = tonumber(position) <= room.rebuilt_up_to
    if not words[n] and not passes[n] and not is_back then places[#places + 1], places[#places + 2] = position, user end
  end
  room.seq = highest
  if #places > 0 then restored = restored + redis.call('ZADD', WAITING, 'NX', unpack(places)) end
end

-- Whether something newer is known of a person than this word. A page always gives way.
local function is_superseded(user, epoch, version)
  local known = (is_page and not has_words) and nil or redis.call('HGET', WORDS, user)
  if not known or is_page then return known end
  local known_epoch, known_version = string.match(known, '^(%d+) (%d+)')
  known_epoch, known_version = tonumber(known_epoch), tonumber(known_version)
  return known_epoch > epoch or known_epoch == epoch and known_version > version
end

for i = first + 2 * in_line, #ARGV, 8 do
  local user = ARGV[i + 1]
  local is_back = is_page and tonumber(ARGV[i + 2]) <= room.rebuilt_up_to
  local is_newest = not is_back and not is_superseded(user, tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7]))
  if is_newest then
    restored = restored + put(ARGV[i], user, tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]),
      tonumber(ARGV[i + 5]))
  end
  if is_newest and ARGV[8] == 'words' then
    -- The record may have lost what a gateway remembers.
    note_word(ARGV[i], user, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
  end
  if is_newest and not is_page then
    redis.call('HSET', WORDS, user, ARGV[i + 6] .. ' ' .. ARGV[i + 7] .. ' settled ' .. ARGV[i + 2] .. ' 0 0 0')
  end
end

if up_to > room.rebuilt_up_to then
  redis.call('HSET', ROOM, 'rebuilt_up_to', up_to)
  if room.rebuilt_up_to == 0 then
    redis.call('HSET', ROOM, 'return_until_ms', string.format('%.0f', now + RETURN_MS))
  end
end
save()
reply = head()
reply[4], reply[5] = 1, restored
return reply
