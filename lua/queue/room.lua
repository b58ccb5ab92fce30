-- room: what every verb of the waiting room begins with. It is put in front of each of them, after its first line.
--
-- A person is in exactly one of: WAITING, AWAY, OFFERS, LEASES, or none.
--   waiting --offered its turn--> offers --claimed by a poll--> leases --end of the lease--> none
--   waiting --its turn, and absent--> away --polls again--> waiting, at its own position
--   offers --not claimed in time--> away
--
-- KEYS[1] room     HASH  epoch, seq, frontier, nonce, admitted, bucket…, rebuild_until_ms, ticked_at_ms, horizon…, settings
-- KEYS[2] waiting  ZSET  user -> position                 those in line
-- KEYS[3] away     ZSET  user -> position                 those whose turn came while they were absent
-- KEYS[4] present  ZSET  user -> time in ms               until when a person near the front counts as present
-- KEYS[5] offers   ZSET  user -> time in ms               until when a turn may be claimed
-- KEYS[6] leases   ZSET  user -> time in ms               until when an admission lasts
-- KEYS[7] passes   HASH  user -> position:nonce           which admission an offer or a lease is
-- KEYS[8] expired  ZSET  user -> time in ms               whose lease ran out, of late
-- KEYS[9] left     ZSET  user -> time in ms               who left, of late
--
-- ARGV[1] now in ms, 0 for Redis TIME (anything else is a test's)
-- ARGV[2] admit_per_second  ARGV[3] burst  ARGV[4] max_active  ARGV[5] session_ms  ARGV[6] claim_ms
--         what holds where the room has no setting of its own
-- ARGV[7] opens_at_ms, 0 for open, -1 where the sale is over
-- ARGV[8] seen_position, ARGV[9] seen_epoch: the highest number, and in which life of the room, that the caller has
--         seen; 0 where it has seen nothing. They tell a room that lost its memory, or its latest part, from a new one.
local ROOM, WAITING, AWAY, PRESENT = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local OFFERS, LEASES, PASSES, EXPIRED, LEFT = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

local STATE = { waiting = 1, admitted = 2, left = 3, expired = 4, closed = 5 }
-- How far numbers jump after a room lost its memory: numbers given in its last moments may be known to nobody but
-- their bearers, who are still to come.
local SAFETY_GAP = 1000
-- How long nobody is given a turn after that: whoever is near the front polls every second or two, and has to be back in
-- line before turns are given again. Those further back are back before their turn can come, at the rate that is set.
local REBUILD_MS = 5000
-- Epochs are tenths of a second since 2025, so that 32 bits last until 2038 and a later life has the higher number.
local EPOCH_ZERO_MS = 1735689600000
local ENDED_KEPT_MS = 3600000

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local fields = redis.call('HMGET', ROOM, 'epoch', 'seq', 'frontier', 'bucket', 'bucket_at_ms', 'mode', 'paused',
  'admit_per_second', 'burst', 'max_active', 'session_ms', 'claim_ms', 'opens_at_ms', 'rebuild_until_ms')
local room = {
  epoch = tonumber(fields[1]),
  seq = tonumber(fields[2]) or 0,
  frontier = tonumber(fields[3]) or 0,
  mode = fields[6] or 'queue',
  paused = fields[7] == '1',
  admit_per_second = tonumber(fields[8] or ARGV[2]),
  burst = tonumber(fields[9] or ARGV[3]),
  max_active = tonumber(fields[10] or ARGV[4]),
  session_ms = tonumber(fields[11] or ARGV[5]),
  claim_ms = tonumber(fields[12] or ARGV[6]),
  opens_at_ms = tonumber(fields[13] or ARGV[7]),
  rebuild_until_ms = tonumber(fields[14]) or 0,
}
-- A sale that is over closes the room, however the room is set.
if tonumber(ARGV[7]) < 0 then room.mode, room.opens_at_ms = 'closed', 0 end

-- Begins the room where Redis does not know it: at first use, or after Redis lost its memory. A room that lost only the
-- latest part (a replica took over that lagged, a file that lacks the last second) shows by a number lower than one that
-- was seen; it begins a new life too, with what it still knows.
local function ensure_room()
  local seen_position, seen_epoch = tonumber(ARGV[8]), tonumber(ARGV[9])
  local is_missing = not room.epoch
  local is_rolled_back = room.epoch == seen_epoch and room.seq < seen_position
  local is_behind = room.epoch and seen_epoch > 0 and room.epoch > seen_epoch and room.seq < seen_position
  if not (is_missing or is_rolled_back or is_behind) then return end

  if is_missing or is_rolled_back then
    room.epoch = math.max(math.floor((now - EPOCH_ZERO_MS) / 100), seen_epoch + 1, (room.epoch or 0) + 1)
  end
  redis.call('HSET', ROOM, 'epoch', room.epoch, 'frontier', room.frontier)
  if seen_epoch > 0 then
    room.seq = seen_position + SAFETY_GAP
    room.rebuild_until_ms = now + REBUILD_MS
    -- What was admitted before is not known any more: nothing is saved up.
    fields[4], fields[5] = '0', tostring(now)
    redis.call('HSET', ROOM, 'rebuild_until_ms', room.rebuild_until_ms, 'bucket', '0', 'bucket_at_ms', now)
  end
  redis.call('HSET', ROOM, 'seq', room.seq)
end

-- The token bucket: admissions that may happen now, refilled by the time that passed. A clock set back refills nothing.
local function refill()
  local bucket, at = tonumber(fields[4]) or room.burst, tonumber(fields[5]) or now
  return math.min(room.burst, bucket + math.max(0, now - at) * room.admit_per_second / 1000)
end

local function save_bucket(bucket)
  redis.call('HSET', ROOM, 'bucket', string.format('%.6f', bucket), 'bucket_at_ms', string.format('%.0f', now))
end

-- Ends a lease that ran out, so that whoever asks next is told so.
local function end_lease(user)
  redis.call('ZREM', LEASES, user)
  redis.call('HDEL', PASSES, user)
  redis.call('ZADD', EXPIRED, now, user)
end

-- Sets someone aside whose turn came and who was not there: the number is kept.
local function set_aside(user, position)
  redis.call('ZADD', AWAY, position, user)
  redis.call('ZREM', PRESENT, user)
end

-- Ends leases and offers that ran out, at most `limit` of each.
local function expire(limit)
  for _, user in ipairs(redis.call('ZRANGE', LEASES, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    end_lease(user)
  end
  for _, user in ipairs(redis.call('ZRANGE', OFFERS, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    local pass = redis.call('HGET', PASSES, user)
    redis.call('ZREM', OFFERS, user)
    redis.call('HDEL', PASSES, user)
    if pass then set_aside(user, string.match(pass, '^%d+')) end
  end
end

-- How many more may be let in now: the bucket and the free places both allow it.
local function capacity(bucket)
  if room.mode == 'closed' or room.paused or now < room.opens_at_ms or now < room.rebuild_until_ms then return 0 end
  if room.mode == 'passthrough' then return math.huge end
  local active = redis.call('ZCARD', OFFERS) + redis.call('ZCARD', LEASES)
  return math.max(0, math.min(math.floor(bucket + 0.000001), room.max_active - active))
end

-- Gives a position its turn: in `set`, until `until_ms`.
local function give_turn(user, position, set, until_ms)
  local nonce = redis.call('HINCRBY', ROOM, 'nonce', 1) % 1024
  redis.call('HSET', PASSES, user, string.format('%.0f:%d', position, nonce))
  redis.call('ZADD', set, until_ms, user)
  redis.call('HINCRBY', ROOM, 'admitted', 1)
  if position > room.frontier then
    room.frontier = position
    redis.call('HSET', ROOM, 'frontier', position)
  end
  return nonce
end

-- Where a person is who is here right now: an offer is taken up, one set aside is back in line.
-- Returns state, position, nonce (-1 in line), lease_end_ms; nil where the room does not know them.
local function arrive(user, presence_ms)
  local pass = redis.call('HGET', PASSES, user)
  if pass then
    local position, nonce = string.match(pass, '^(%d+):(%d+)$')
    position, nonce = tonumber(position), tonumber(nonce)
    local lease_end = tonumber(redis.call('ZSCORE', LEASES, user))
    if lease_end and lease_end > now then return STATE.admitted, position, nonce, lease_end end
    if lease_end then
      end_lease(user)
      return nil
    end
    local claim_end = tonumber(redis.call('ZSCORE', OFFERS, user))
    redis.call('ZREM', OFFERS, user)
    if claim_end and claim_end > now and room.mode ~= 'closed' then
      lease_end = now + room.session_ms
      redis.call('ZADD', LEASES, lease_end, user)
      return STATE.admitted, position, nonce, lease_end
    end
    redis.call('HDEL', PASSES, user)
    redis.call('ZADD', AWAY, position, user)
  end
  local position = redis.call('ZSCORE', WAITING, user)
  if not position then
    position = redis.call('ZSCORE', AWAY, user)
    if not position then return nil end
    redis.call('ZREM', AWAY, user)
    redis.call('ZADD', WAITING, position, user)
  end
  redis.call('ZADD', PRESENT, now + presence_ms, user)
  return STATE.waiting, tonumber(position), -1, 0
end
