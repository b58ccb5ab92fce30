#!lua
-- hold: locks seats for one admitted person, all of them or none.
--
-- The lock is what makes losing cheap, not what sells: a lost lock (Redis wiped, failed over) costs a look into
-- PostgreSQL, never a seat sold twice.
--
-- ATOMIC   all of it: the admission is live at the very moment the seats are locked
-- RETRY    a repeat finds the seats taken, by itself perhaps; an unanswered call's locks end by themselves
-- KEYS     [1] the concert's leases (sorted set: user -> lease end in ms), only read
--          [2] the concert's passes (hash: user -> position:nonce), only read
--          [3] the concert's fence (a counter that only rises)
--          [4] the concert's waiting room (hash: epoch, rebuilding …), only read
--          [5..] one lock per seat, in the order of the request
-- ARGV     [1] user  [2] the pass as position:nonce  [3] lock's life in ms  [4] now in ms, 0 for Redis' own time
-- RETURNS  'held', fence             the locks' value is `user:fence`
--          'taken', n                the n-th seat, from 1, is locked already; nothing was changed
--          'not_admitted', 0         no live lease with this pass; nothing was changed
--          'unknown', 0              the same, but the room has lost its memory and may learn of the lease yet
-- COST     O(seats), 4 commands and 2 per seat
local LEASES, PASSES, FENCE, ROOM = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIRST_SEAT = 5
local user, pass, life_ms, now_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

if now_ms == 0 then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end

local lease_end_ms = tonumber(redis.call('ZSCORE', LEASES, user)) or 0
if lease_end_ms <= now_ms or redis.call('HGET', PASSES, user) ~= pass then
  local room = redis.call('HMGET', ROOM, 'epoch', 'rebuilding')
  local is_known = room[1] and room[2] ~= '1'
  return { is_known and 'not_admitted' or 'unknown', 0 }
end

for n = FIRST_SEAT, #KEYS do
  if redis.call('EXISTS', KEYS[n]) == 1 then
    return { 'taken', n - FIRST_SEAT + 1 }
  end
end

local fence = redis.call('INCR', FENCE)
local value = user .. ':' .. fence
for n = FIRST_SEAT, #KEYS do
  redis.call('SET', KEYS[n], value, 'PX', life_ms)
end
return { 'held', fence }
