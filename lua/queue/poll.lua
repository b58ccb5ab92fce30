#!lua
-- poll: where people are whose turn has come or may have: takes up offers, brings back who was set aside, and puts back
-- the bearer of a ticket that a room without memory no longer knows.
--
-- ATOMIC   all of it: an offer is taken up or runs out, never both
-- RETRY    safe at any time: a lease taken up is answered again
-- KEYS     [1..9] the room's keys, see room.lua
-- ARGV     [1..9] the room's arguments, see room.lua
--          [10] presence_ms: for how long one who just polled counts as present
--          [11..] three for each person: user, position and epoch of the ticket (epoch 0: nothing to put back)
-- RETURNS  epoch, now_ms, then for each person: state, position, nonce (-1 unless admitted), lease_end_ms
--          state: 1 waiting, 2 admitted, 3 left, 4 expired
-- COST     O(log n) a person; about 5 commands each
ensure_room()
local presence_ms = tonumber(ARGV[10])
local reply = { room.epoch, now }

-- A ticket from an earlier life of the room: its bearer goes back to their own position. Where a room began without
-- knowing of that life, somebody may have been given the number since: the older ticket keeps it.
local function put_back(user, position)
  for _, set in ipairs({ WAITING, AWAY }) do
    for _, other in ipairs(redis.call('ZRANGE', set, position, position, 'BYSCORE')) do
      redis.call('ZADD', set, redis.call('HINCRBY', ROOM, 'seq', 1), other)
      room.seq = room.seq + 1
    end
  end
  if room.seq < position + SAFETY_GAP then
    room.seq = position + SAFETY_GAP
    redis.call('HSET', ROOM, 'seq', room.seq)
  end
  redis.call('ZADD', WAITING, position, user)
  redis.call('ZADD', PRESENT, now + presence_ms, user)
  return STATE.waiting, position, -1, 0
end

for i = 11, #ARGV, 3 do
  local user, position, epoch = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local state, at, nonce, lease_end = arrive(user, presence_ms)
  if not state then
    local expired, left = redis.call('ZSCORE', EXPIRED, user), redis.call('ZSCORE', LEFT, user)
    if epoch > 0 and epoch < room.epoch and not expired and not left then
      state, at, nonce, lease_end = put_back(user, position)
    else
      state, at, nonce, lease_end = expired and STATE.expired or STATE.left, position, -1, 0
    end
  end
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = state, at, nonce, lease_end
end
return reply
