#!lua
-- poll: where people are whose turn has come or may have: takes up offers, brings back who was set aside, and puts back
-- the bearer of a ticket that a room without memory no longer knows.
--
-- ATOMIC   all of it: an offer is taken up or runs out, never both
-- RETRY    safe at any time: a lease taken up is answered again
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] presence_ms: for how long one who just polled counts as present
--          [10..] three for each person: user, position and epoch of the ticket (epoch 0: nothing to put back)
-- RETURNS  epoch, now_ms, changes, then for each person: state, position, nonce (-1 unless admitted), lease_end_ms
--          state: 1 waiting, 2 admitted, 3 left, 4 expired, 6 gathering (position is the entry), 7 rebuilding (not
--          known yet)
-- COST     O(log n) a person; about 5 commands each
ensure_room()
local presence_ms = tonumber(ARGV[9])
local reply = { room.epoch, now, 0 }

-- A ticket from an earlier life of the room: its bearer goes back to their own position. Where a room began without
-- knowing of that life, somebody may have been given the number since: the older ticket keeps it.
local function put_back(user, position)
  for _, set in ipairs({ WAITING, AWAY }) do
    for _, other in ipairs(redis.call('ZRANGE', set, position, position, 'BYSCORE')) do
      room.seq = room.seq + 1
      redis.call('ZADD', set, room.seq, other)
      note('moved', other, room.seq)
    end
  end
  room.seq = math.max(room.seq, position + tonumber(ARGV[7]))
  redis.call('ZADD', WAITING, position, user)
  redis.call('ZADD', PRESENT, now + presence_ms, user)
  note(is_undrawn() and 'entered' or 'restored', user, position)
  return is_undrawn() and STATE.gathering or STATE.waiting, position, -1, 0
end

local function unknown(user, position, epoch)
  local expired, left = redis.call('ZSCORE', EXPIRED, user), redis.call('ZSCORE', LEFT, user)
  if epoch > 0 and epoch < room.epoch and not expired and not left then return put_back(user, position) end
  if expired then return STATE.expired, position, -1, 0 end
  return (room.rebuilding and not left) and STATE.rebuilding or STATE.left, position, -1, 0
end

for i = 10, #ARGV, 3 do
  local user, position, epoch = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local state, at, nonce, lease_end = arrive(user, presence_ms)
  if not state then state, at, nonce, lease_end = unknown(user, position, epoch) end
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = state, at, nonce, lease_end
end
save()
reply[3] = room.changes
return reply
