#!lua
-- poll: where people are who are next or may be: claims offers, and brings skipped people back into line.
--
-- ATOMIC   all of it: an offer is claimed or runs out, never both
-- RETRY    safe at any time: a claimed lease is answered again
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] presence_ms: for how long a person who just polled counts as present
--          [8..] three for each person: user, and of their token the position and the epoch; of a pass, which names none, 0
-- RETURNS  epoch, now_ms, version, then for each person: state, position, detail, lease_end_ms; or LOST, see room.lua,
--          with the epoch and the position of a token that proves it
--          state: 1 waiting, 2 admitted, 3 left, 4 expired, 6 gathering (position is the entry), 7 rebuilding (not known
--          yet), 8 unknown (the record decides)
--          detail: an admission's nonce; 0 where an offer must wait for its claim (lease_end_ms: for how many ms); else -1
-- COST     O(log n) a person; about 5 commands each
local FIRST = 8
-- A valid token of this epoch, or of a later one, proves that the room knew more once. A pass names no epoch, but positions
-- only rise.
if not is_lost then
  for i = FIRST, #ARGV, 3 do
    local position, epoch = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    if epoch > room.epoch or (epoch == room.epoch or epoch == 0) and position > room.seq then
      is_lost = true
      LOST[5], LOST[6] = math.max(LOST[5], epoch), math.max(LOST[6], position)
    end
  end
end
if is_lost then return LOST end
update_draw()
local presence_ms = tonumber(ARGV[7])
local answers = {}

for i = FIRST, #ARGV, 3 do
  local user, position = ARGV[i], tonumber(ARGV[i + 1])
  local state, at, detail, lease_end = STATE.rebuilding, position, -1, 0
  if is_rebuilt(position) then
    state, at, detail, lease_end = arrive(user, presence_ms)
    if not state then state, at, detail, lease_end = ended(user, position) or STATE.unknown, position, -1, 0 end
  end
  local n = #answers
  answers[n + 1], answers[n + 2], answers[n + 3], answers[n + 4] = state, at, detail, lease_end
end
save()
local reply = head()
for i = 1, #answers do reply[3 + i] = answers[i] end
return reply
