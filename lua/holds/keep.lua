#!lua
-- keep: lets locks live as long as their reservations may be paid for, each only where it still is the very one meant.
--
-- A lock is taken for a short time only: whoever dies between taking it and writing the reservation must not keep a seat
-- from everybody for minutes. Once the reservation is written, this gives the lock its whole life.
--
-- ATOMIC   all of it; per seat it is compare-and-extend, so that a late call can't extend a later holder's lock
-- RETRY    safe at any time: it sets the same life again
-- KEYS     [1] the concert's leases (sorted set: user -> lease end in ms)
--          [2..] one lock per seat, all of one concert
-- ARGV     [1] the locks' life in ms  [2] their owner  [3] for how many ms what they hold may be paid for
--          [4] now in ms, 0 for Redis' own time  [5..] the value each lock has to have, `user:fence`, one per seat
-- RETURNS  how many were kept
-- COST     O(seats), 3 commands, 1 per seat and 1 more per lock kept
local LEASES = KEYS[1]
local user, payable_ms, now_ms = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if now_ms == 0 then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end

local lease_end_ms = tonumber(redis.call('ZSCORE', LEASES, user)) or 0
if lease_end_ms > now_ms then
  redis.call('ZADD', LEASES, 'XX', 'GT', now_ms + payable_ms, user)
end

local kept = 0
for n = 2, #KEYS do
  if redis.call('GET', KEYS[n]) == ARGV[n + 3] then
    kept = kept + redis.call('PEXPIRE', KEYS[n], ARGV[1])
  end
end
return kept
