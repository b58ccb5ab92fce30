#!lua
-- join: gives each person a place in line, or the one they have already; in an idle room, a lease at once.
--
-- ATOMIC   all of it: positions are given in the order of ARGV, and nobody is admitted past someone in line
-- RETRY    safe at any time: who is known keeps what they have
-- KEYS     [1..9] the room's keys, see room.lua
-- ARGV     [1..9] the room's arguments, see room.lua
--          [10] presence_ms, [11] max_presence_ms: for how long one who just joined counts as present; it grows from
--               the first to the second with the wait, since who waits longer is told to poll later
--          [12] reach: how many from the front are watched for presence
--          [13..] users
-- RETURNS  epoch, now_ms, then for each user: state, position, detail, lease_end_ms
--          state: 1 waiting, 2 admitted, 5 closed (no place was given)
--          detail: of an admission its nonce; of a new place the number of people in line before it; else -1
-- COST     O(log n) a user; about 7 commands each
ensure_room()
expire(100)
local presence_ms, max_presence_ms, reach = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local bucket = refill()
local free = capacity(bucket)
local reply = { room.epoch, now }

local function append(state, position, nonce, lease_end)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = state, position, nonce, lease_end
end

local function join(user)
  if room.mode == 'closed' then return append(STATE.closed, 0, 0, 0) end
  local position = redis.call('HINCRBY', ROOM, 'seq', 1)
  local in_line = redis.call('ZCARD', WAITING)
  redis.call('ZREM', EXPIRED, user)
  redis.call('ZREM', LEFT, user)
  -- An idle room is invisible. Where anyone is in line, their turn comes first, whatever is free.
  if free >= 1 and (in_line == 0 or room.mode == 'passthrough') then
    free = free - 1
    if room.mode ~= 'passthrough' then bucket = bucket - 1 end
    local lease_end = now + room.session_ms
    return append(STATE.admitted, position, give_turn(user, position, LEASES, lease_end), lease_end)
  end
  redis.call('ZADD', WAITING, position, user)
  if in_line < reach then
    local until_polled = in_line / math.max(room.admit_per_second, 0.001) * 1000
    redis.call('ZADD', PRESENT, now + math.min(max_presence_ms, presence_ms + until_polled), user)
  end
  append(STATE.waiting, position, in_line, 0)
end

for i = 13, #ARGV do
  local state, position, nonce, lease_end = arrive(ARGV[i], presence_ms)
  if state then append(state, position, nonce, lease_end) else join(ARGV[i]) end
end
save_bucket(bucket)
return reply
