#!lua
-- join: gives each person a place in line, or the one they have already; in an idle room, a lease at once.
--
-- ATOMIC   all of it: positions are given in the order of ARGV, and nobody is admitted past someone in line, or past someone
--          set aside who comes with the same call
-- RETRY    safe at any time: who is known keeps what they have
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] presence_ms, [10] max_presence_ms: for how long one who just joined counts as present; it grows from
--               the first to the second with the wait, since who waits longer is told to poll later
--          [11] reach: how many from the front are watched for presence
--          [12..] users
-- RETURNS  epoch, now_ms, changes, then for each user: state, position, detail, lease_end_ms
--          state: 1 waiting, 2 admitted, 5 closed, 6 gathering (position is the entry), 7 rebuilding (5 and 7: no place
--          was given)
--          detail: of an admission its nonce; of a new place the number of people in line before it; else -1
-- COST     O(log n) a user; about 8 commands a call and 1 a newcomer, more for whoever is known
ensure_room()
expire(100)
local presence_ms, max_presence_ms, reach = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local FIRST_USER = 12
local free = capacity()
local reply = { room.epoch, now, 0 }
local places, presences, given = {}, {}, {}

local function people_in_line()
  return redis.call('ZCARD', WAITING) + redis.call('ZCARD', GATHERED) + #places / 2
end

local function answer(i, state, position, detail, lease_end)
  local n = 3 + 4 * (i - 1)
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = state, position, detail, lease_end
end

-- Written together, and before anyone is looked up who may be among them.
local function write_places()
  if #places > 0 then redis.call('ZADD', WAITING, unpack(places)) end
  if #presences > 0 then redis.call('ZADD', PRESENT, unpack(presences)) end
  places, presences = {}, {}
end

local users = { unpack(ARGV, FIRST_USER) }
local known_places = redis.call('ZMSCORE', WAITING, unpack(users))
local known_passes = redis.call('HMGET', PASSES, unpack(users))
local known_away = redis.call('EXISTS', AWAY) == 1 and redis.call('ZMSCORE', AWAY, unpack(users)) or {}
local known_entries = redis.call('EXISTS', GATHERED) == 1 and redis.call('ZMSCORE', GATHERED, unpack(users)) or {}
for _, ended in ipairs({ EXPIRED, LEFT }) do
  if redis.call('EXISTS', ended) == 1 then redis.call('ZREM', ended, unpack(users)) end
end

-- First who is known: someone who was set aside is in line again, before anyone walks in who has only just come.
local newcomers = {}
for i, user in ipairs(users) do
  local state, position, nonce, lease_end
  if known_places[i] or known_passes[i] or known_away[i] or known_entries[i] then
    state, position, nonce, lease_end = arrive(user, presence_ms)
  end
  if state then answer(i, state, position, nonce, lease_end) else newcomers[#newcomers + 1] = i end
end

local in_front = people_in_line()
local state_in_line = is_undrawn() and STATE.gathering or STATE.waiting

local function join(i, user)
  if is_closed then return answer(i, STATE.closed, 0, 0, 0) end
  if room.rebuilding then return answer(i, STATE.rebuilding, 0, 0, 0) end
  room.seq = room.seq + 1
  local position = room.seq
  given[user] = true
  -- An idle room is invisible. Where anyone is in line, their turn comes first, whatever is free.
  if free >= 1 and (in_front == 0 or settings.mode == 'passthrough') then
    free = free - 1
    if settings.mode ~= 'passthrough' then bucket = bucket - 1 end
    local nonce = give_turn(user, position)
    return answer(i, STATE.admitted, position, nonce, begin_lease(user, position, nonce))
  end
  places[#places + 1], places[#places + 2] = position, user
  if in_front < reach then
    local until_polled = in_front / math.max(settings.admitPerSecond, 0.001) * 1000
    presences[#presences + 1] = now + math.min(max_presence_ms, presence_ms + until_polled)
    presences[#presences + 1] = user
  end
  note(state_in_line == STATE.gathering and 'entered' or 'joined', user, position, in_front)
  answer(i, state_in_line, position, in_front, 0)
  in_front = in_front + 1
end

for _, i in ipairs(newcomers) do
  local user = users[i]
  if given[user] then
    write_places()
    answer(i, arrive(user, presence_ms))
  else
    join(i, user)
  end
end
write_places()
save()
reply[3] = room.changes
return reply
