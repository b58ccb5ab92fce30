#!lua
-- join: gives each person a position, or returns the one they have; in an idle room, a lease at once.
--
-- ATOMIC   all of it: positions are given in the order of ARGV, and no newcomer is admitted past someone in line, or past
--          someone skipped who comes back with the same call
-- RETRY    safe at any time: a person who is known keeps what they have
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] presence_ms, [8] max_presence_ms: for how long a newcomer counts as present; it grows from the first to the
--               second with the wait, since a longer wait means a later poll
--          [9] reach: how many from the front are watched for presence
--          [10..] users
-- RETURNS  epoch, now_ms, version, then for each user: state, position, detail, lease_end_ms; or LOST, see room.lua
--          state: 1 waiting, 2 admitted, 5 closed, 6 gathering (position is the entry), 7 rebuilding (5 and 7: no position
--          was given)
--          detail: of an admission its nonce; of a new position the number of people in line before it; else -1
-- COST     O(log n) a user; about 8 commands a call and 1 a newcomer, more for a person who is known
if is_lost then return LOST end
update_draw()
expire(100)
local presence_ms, max_presence_ms, reach = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local FIRST_USER = 10
local free = capacity()
local reply = {}
local positions, presences, given = {}, {}, {}

local function people_in_line()
  return redis.call('ZCARD', WAITING) + redis.call('ZCARD', GATHERED) + #positions / 2
end

local function answer(i, state, position, detail, lease_end)
  local n = 4 * (i - 1)
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = state, position, detail, lease_end
end

-- Written together, and before a second request of one of these people is looked up.
local function write_positions()
  if #positions > 0 then redis.call('ZADD', WAITING, unpack(positions)) end
  if #presences > 0 then redis.call('ZADD', PRESENT, unpack(presences)) end
  positions, presences = {}, {}
end

local users = { unpack(ARGV, FIRST_USER) }
local known_positions = redis.call('ZMSCORE', WAITING, unpack(users))
local known_passes = redis.call('HMGET', PASSES, unpack(users))
local known_away = redis.call('EXISTS', AWAY) == 1 and redis.call('ZMSCORE', AWAY, unpack(users)) or {}
local known_entries = redis.call('EXISTS', GATHERED) == 1 and redis.call('ZMSCORE', GATHERED, unpack(users)) or {}

-- First the people who are known: a skipped person is in line again before a newcomer walks in.
local newcomers = {}
for i, user in ipairs(users) do
  local known = known_positions[i] or known_away[i] or known_entries[i]
    or known_passes[i] and string.match(known_passes[i], '^%d+')
  if room.rebuilding and not (known and is_rebuilt(tonumber(known))) then
    answer(i, STATE.rebuilding, 0, 0, 0)
  else
    local state, position, detail, lease_end
    if known then state, position, detail, lease_end = arrive(user, presence_ms) end
    if state then answer(i, state, position, detail, lease_end) else newcomers[#newcomers + 1] = i end
  end
end

local in_front = people_in_line()
local state_in_line = is_undrawn() and STATE.gathering or STATE.waiting

local function join(i, user)
  if is_closed then return answer(i, STATE.closed, 0, 0, 0) end
  if room.rebuilding then return answer(i, STATE.rebuilding, 0, 0, 0) end
  room.seq, room.joins = room.seq + 1, room.joins + 1
  local position = room.seq
  given[user] = true
  -- An idle room is invisible. Where anyone is in line, they come first, whatever is free.
  -- People who are known may have claimed their offers in this very call.
  if free >= 1 and (settings.mode == 'passthrough' or in_front == 0 and claims >= 0.999999) then
    free = free - 1
    if settings.mode ~= 'passthrough' then bucket, claims = bucket - 1, claims - 1 end
    local nonce = admit(user, position)
    return answer(i, STATE.admitted, position, nonce, begin_lease(user, position, nonce))
  end
  positions[#positions + 1], positions[#positions + 2] = position, user
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
    write_positions()
    answer(i, arrive(user, presence_ms))
  else
    join(i, user)
  end
end
write_positions()
save()
local first = head()
for i = #first, 1, -1 do table.insert(reply, 1, first[i]) end
return reply
