-- room: what every verb of the waiting room begins with. It is put in front of each of them, after its first line.
--
-- A person is in exactly one of: WAITING, AWAY, OFFERS, LEASES, GATHERED, or none.
--   waiting --offered its turn--> offers --claimed by a poll--> leases --end of the lease--> none
--   waiting --its turn, and absent--> away --polls again--> waiting, at its own position
--   offers --not claimed in time--> away
--   waiting --the draw at the opening--> gathered --dealt a position--> waiting
--
-- KEYS[1] room      HASH    epoch, seq, frontier, nonce, admitted, passed_over, changes, bucket…, rebuild…, draw, entries, settings, tick's
-- KEYS[2] waiting   ZSET    user -> position               those in line
-- KEYS[3] away      ZSET    user -> position               those whose turn came while they were absent
-- KEYS[4] present   ZSET    user -> time in ms             until when a person near the front counts as present
-- KEYS[5] offers    ZSET    user -> time in ms             until when a turn may be claimed
-- KEYS[6] leases    ZSET    user -> time in ms             until when an admission lasts
-- KEYS[7] passes    HASH    user -> position:nonce         which admission an offer or a lease is
-- KEYS[8] expired   ZSET    user -> time in ms             whose lease ran out, of late
-- KEYS[9] left      ZSET    user -> time in ms             who left, of late
-- KEYS[10] caps     HASH    user -> time in ms             until when use may renew a lease at most, where use renews
-- KEYS[11] gathered ZSET    user -> entry                  who takes part in the draw and has no position yet
-- KEYS[12] events   STREAM  what happened, until it is recorded
--
-- ARGV[1] now in ms, 0 for Redis TIME (anything else is a test's)
-- ARGV[2] the settings that the caller knows, as JSON: `RoomSettings` in the gateway. The room keeps those of the highest
--         version that anyone brought; version 0 is what holds where nobody has set anything, and gives way to any other.
-- ARGV[3] when the sale opens in ms, which counts where the settings name no time; 0 for open, -1 where it is over
-- ARGV[4] seen_position  ARGV[5] seen_epoch  ARGV[6] seen_changes: the highest number, in which life of the room, and
--         after how many changes to it, that the caller has seen; 0 where it has seen nothing. They tell a room that
--         lost its memory, or its latest part, from a new one.
-- ARGV[7] gap: how far numbers jump after a loss
-- ARGV[8] 1 where somebody records the events and can restore a room, else 0
local ROOM, WAITING, AWAY, PRESENT = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local OFFERS, LEASES, PASSES, EXPIRED, LEFT = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local CAPS, GATHERED, EVENTS = KEYS[10], KEYS[11], KEYS[12]

local STATE = { waiting = 1, admitted = 2, left = 3, expired = 4, closed = 5, gathering = 6, rebuilding = 7 }
-- How long nobody is given a turn after a loss: whoever is near the front polls every second or two, and has to be back
-- in line before turns are given again. Those further back are back before their turn can come, at the rate that is set.
local REBUILD_MS = 5000
-- Epochs are tenths of a second since 2025, so that 32 bits last until 2038 and a later life has the higher number.
local EPOCH_ZERO_MS = 1735689600000
local ENDED_KEPT_MS = 3600000
-- Entries of the stream that wait to be recorded at most; the oldest give way.
local EVENTS_MAX = 200000
local RECORDED = ARGV[8] == '1'

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local fields = redis.call('HMGET', ROOM, 'epoch', 'seq', 'frontier', 'nonce', 'admitted', 'changes', 'bucket',
  'bucket_at_ms', 'rebuild_until_ms', 'rebuilding', 'draw', 'entries', 'settings', 'passed_over')
local room = {
  epoch = tonumber(fields[1]),
  seq = tonumber(fields[2]) or 0,
  frontier = tonumber(fields[3]) or 0,
  nonce = tonumber(fields[4]) or 0,
  admitted = tonumber(fields[5]) or 0,
  passed_over = tonumber(fields[14]) or 0,
  changes = tonumber(fields[6]) or 0,
  rebuild_until_ms = tonumber(fields[9]) or 0,
  rebuilding = fields[10] == '1',
  draw = fields[11] or '',
  entries = tonumber(fields[12]) or 0,
  settings_text = fields[13] or ARGV[2],
}
local settings = cjson.decode(room.settings_text)
local rate_until_now = settings.admitPerSecond
if room.settings_text ~= ARGV[2] then
  local given = cjson.decode(ARGV[2])
  if given.version > settings.version or given.version == 0 and settings.version == 0 then
    settings, room.settings_text = given, ARGV[2]
  end
end
local is_over = tonumber(ARGV[3]) < 0
-- A sale that is over closes the room, however the room is set.
local is_closed = is_over or settings.mode == 'closed'
local opens_at_ms = settings.opensAtMs > 0 and settings.opensAtMs or math.max(0, tonumber(ARGV[3]))
-- The token bucket: turns that may be given now, refilled by the time that passed, at the rate that was set in that time.
-- A clock set back refills nothing.
local bucket = math.min(settings.burst, (tonumber(fields[7]) or settings.burst)
  + math.max(0, now - (tonumber(fields[8]) or now)) * rate_until_now / 1000)

local events = {}
-- Notes an event for the record: what, who, at which position, and what else there is to know.
local function note(kind, user, position, detail)
  if RECORDED then
    events[#events + 1] = kind .. ' ' .. user .. ' ' .. position .. (detail and (' ' .. detail) or '')
  end
end

-- Writes the room back, and the events with it. Every verb that changes anything ends with it.
local function save()
  room.changes = room.changes + 1
  redis.call('HSET', ROOM, 'epoch', room.epoch, 'seq', room.seq, 'frontier', room.frontier, 'nonce', room.nonce,
    'admitted', room.admitted, 'passed_over', room.passed_over, 'changes', room.changes, 'bucket', bucket, 'bucket_at_ms', now,
    'draw', room.draw, 'entries', room.entries)
  if room.settings_text ~= fields[13] then
    redis.call('HSET', ROOM, 'settings', room.settings_text)
  end
  if #events > 0 then
    redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, '*', 'at', string.format('%.0f', now), 'epoch', room.epoch,
      'events', table.concat(events, '\n'))
  end
end

-- Begins the room where Redis does not know it: at first use, or after Redis lost its memory. A room that lost only the
-- latest part (a replica took over that lagged, a file that lacks the last second) shows by fewer changes than were
-- seen; it begins a new life too, with what it still knows.
local function ensure_room()
  local seen_position, seen_epoch, seen_changes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local is_missing = not room.epoch
  local is_rolled_back = room.epoch == seen_epoch and room.changes < seen_changes
  local is_behind = room.epoch and seen_epoch > 0 and room.epoch > seen_epoch and room.seq < seen_position
  if is_missing or is_rolled_back then
    room.epoch = math.max(math.floor((now - EPOCH_ZERO_MS) / 100), seen_epoch + 1, (room.epoch or 0) + 1)
    if seen_epoch > 0 then
      -- What was admitted of late is not known any more: nothing is saved up.
      bucket = 0
      room.rebuild_until_ms, room.rebuilding = now + REBUILD_MS, RECORDED
      redis.call('HSET', ROOM, 'rebuild_until_ms', room.rebuild_until_ms, 'rebuilding', RECORDED and 1 or 0)
      note('lost', '-', room.seq)
    end
  end
  if seen_epoch > 0 and (is_missing or is_rolled_back or is_behind) then
    room.seq = math.max(room.seq, seen_position) + tonumber(ARGV[7])
  end
  -- Who comes before the opening takes part in the draw; at the opening nobody more does.
  if settings.order == 'random_at_open' and room.draw == '' and now < opens_at_ms then room.draw = 'pending' end
  if room.draw == 'pending' and settings.order ~= 'random_at_open' then room.draw = '' end
  if room.draw == 'pending' and now >= opens_at_ms and not room.rebuilding and now >= room.rebuild_until_ms then
    room.entries = room.seq
    room.draw = redis.call('EXISTS', WAITING) == 1 and 'dealing' or 'done'
    if room.draw == 'dealing' then
      redis.call('RENAME', WAITING, GATHERED)
      redis.call('HSET', ROOM, 'ticked_at_ms', 0)
    end
    note('drawn', '-', room.entries)
  end
end

-- Whether positions are only entries for the draw yet.
local function is_undrawn()
  return room.draw == 'pending' or (settings.order == 'random_at_open' and room.draw == '' and now < opens_at_ms)
end

-- Begins a lease: it lasts for the session, or as long as it is used within it where the settings say so.
local function begin_lease(user, position, nonce)
  local cap_ms = now + settings.sessionMs
  local lease_end = cap_ms
  if settings.idleMs > 0 then
    lease_end = math.min(cap_ms, now + settings.idleMs)
    redis.call('HSET', CAPS, user, cap_ms)
  end
  redis.call('ZADD', LEASES, lease_end, user)
  note('admitted', user, position, string.format('%d %.0f %.0f', nonce, lease_end, cap_ms))
  return lease_end
end

-- Use renews a lease: by the idle time, at most up to its session's end, and never shortens it.
local function renew_lease(user, lease_end)
  if settings.idleMs == 0 then return lease_end end
  local cap_ms = tonumber(redis.call('HGET', CAPS, user)) or lease_end
  local renewed = math.max(lease_end, math.min(now + settings.idleMs, cap_ms))
  if renewed > lease_end then redis.call('ZADD', LEASES, renewed, user) end
  return renewed
end

-- Forgets an offer or a lease.
local function end_turn(user)
  redis.call('ZREM', OFFERS, user)
  redis.call('ZREM', LEASES, user)
  redis.call('HDEL', PASSES, user)
  redis.call('HDEL', CAPS, user)
end

-- Ends a lease that ran out, so that whoever asks next is told so.
local function end_lease(user, position)
  end_turn(user)
  redis.call('ZADD', EXPIRED, now, user)
  note('expired', user, position)
end

-- Ends leases and offers that ran out, at most `limit` of each.
local function expire(limit)
  for _, user in ipairs(redis.call('ZRANGE', LEASES, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    local pass = redis.call('HGET', PASSES, user)
    end_lease(user, pass and string.match(pass, '^%d+') or 0)
  end
  for _, user in ipairs(redis.call('ZRANGE', OFFERS, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    local pass = redis.call('HGET', PASSES, user)
    end_turn(user)
    if pass then
      local position = string.match(pass, '^%d+')
      redis.call('ZADD', AWAY, position, user)
      note('unclaimed', user, position)
    end
  end
end

-- Whether anyone may be given a turn at all.
local function is_admitting()
  return not (is_closed or settings.paused or now < opens_at_ms or now < room.rebuild_until_ms or room.rebuilding
    or room.draw == 'dealing')
end

-- How many more have a place inside.
local function free_places()
  return settings.maxActive - redis.call('ZCARD', OFFERS) - redis.call('ZCARD', LEASES)
end

-- How many more may be let in now: the bucket and the free places both allow it.
local function capacity()
  if not is_admitting() then return 0 end
  if settings.mode == 'passthrough' then return math.huge end
  return math.max(0, math.min(math.floor(bucket + 0.000001), free_places()))
end

-- Gives a position its turn and returns the number that tells this admission from others of the same position.
local function give_turn(user, position)
  room.nonce = (room.nonce + 1) % 1024
  redis.call('HSET', PASSES, user, string.format('%.0f:%d', position, room.nonce))
  room.admitted = room.admitted + 1
  room.frontier = math.max(room.frontier, position)
  return room.nonce
end

-- Where a person is who is here right now: an offer is taken up, one set aside is back in line.
-- Returns state, position, nonce (-1 in line), lease_end_ms; nil where the room does not know them.
local function arrive(user, presence_ms)
  local pass = redis.call('HGET', PASSES, user)
  if pass then
    local position, nonce = string.match(pass, '^(%d+):(%d+)$')
    position, nonce = tonumber(position), tonumber(nonce)
    local lease_end = tonumber(redis.call('ZSCORE', LEASES, user))
    if lease_end and lease_end > now then
      return STATE.admitted, position, nonce, renew_lease(user, lease_end)
    end
    if lease_end then
      end_lease(user, position)
      return nil
    end
    local claim_end = tonumber(redis.call('ZSCORE', OFFERS, user))
    redis.call('ZREM', OFFERS, user)
    if claim_end and claim_end > now and not is_closed then
      return STATE.admitted, position, nonce, begin_lease(user, position, nonce)
    end
    redis.call('HDEL', PASSES, user)
    redis.call('ZADD', AWAY, position, user)
    note('unclaimed', user, position)
  end
  local position = redis.call('ZSCORE', WAITING, user)
  if not position then
    position = redis.call('ZSCORE', AWAY, user)
    if not position then
      local entry = redis.call('ZSCORE', GATHERED, user)
      if entry then return STATE.gathering, tonumber(entry), -1, 0 end
      return nil
    end
    redis.call('ZREM', AWAY, user)
    redis.call('ZADD', WAITING, position, user)
    note('returned', user, position)
  end
  redis.call('ZADD', PRESENT, now + presence_ms, user)
  return is_undrawn() and STATE.gathering or STATE.waiting, tonumber(position), -1, 0
end

-- Takes a person out of wherever they are; whether they were anywhere, and at which position.
local function take_out(user)
  local position = redis.call('ZSCORE', WAITING, user) or redis.call('ZSCORE', AWAY, user)
    or redis.call('ZSCORE', GATHERED, user)
  if not position then
    local pass = redis.call('HGET', PASSES, user)
    position = pass and string.match(pass, '^%d+')
  end
  for _, set in ipairs({ WAITING, AWAY, PRESENT, GATHERED }) do redis.call('ZREM', set, user) end
  end_turn(user)
  return position
end
