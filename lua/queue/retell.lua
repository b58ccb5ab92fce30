#!lua
-- retell: keeps what a gateway still knows of people, while the room is rebuilt. Of each person the newest word is kept.
--
-- A word is text: epoch, version, kind, position, nonce, lease_end_ms, cap_ms. The first two say when it was true. A word that was
-- used already has 'settled' for its kind.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: the newest word stays the newest
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] epoch: the one that is rebuilt
--          [8..] two for each person: user, word
-- RETURNS  epoch, now_ms, version, how many words were kept; or LOST, see room.lua
-- COST     O(words), 2 commands each
if is_lost then return LOST end
local WORDS_MAX = 1000000
local kept = 0
if room.rebuilding and tonumber(ARGV[7]) == room.epoch then
  for i = 8, #ARGV, 2 do
    local user, word = ARGV[i], ARGV[i + 1]
    local epoch, version, position = string.match(word, '^(%d+) (%d+) %a+ (%d+)')
    epoch, version, position = tonumber(epoch), tonumber(version), tonumber(position)
    local is_new = epoch > room.base_epoch or epoch == room.base_epoch and version > room.base_version
    -- People up to there are back and may have acted since.
    local is_behind = room.rebuilt_up_to == 0 or position > room.rebuilt_up_to
    if is_new and is_behind and epoch < room.epoch then
      local known = redis.call('HGET', WORDS, user)
      local known_epoch, known_version = string.match(known or '0 0', '^(%d+) (%d+)')
      known_epoch, known_version = tonumber(known_epoch), tonumber(known_version)
      if known_epoch < epoch or known_epoch == epoch and known_version < version then
        if known or redis.call('HLEN', WORDS) < WORDS_MAX then
          redis.call('HSET', WORDS, user, word)
          kept = kept + 1
        end
      end
    end
  end
  save()
end
local reply = head()
reply[4] = kept
return reply
