-- room: the prelude of every verb of the waiting room. It is placed in front of each of them, after its first line.
--
-- A person is in exactly one of: WAITING, AWAY, OFFERS, LEASES, GATHERED, or none.
--   waiting --offered--> offers --claimed by a poll--> leases --end of the lease--> none
--   waiting --skipped, because absent--> away --polls again--> waiting, at its own position
--   offers --not claimed in time--> away
--   waiting --the draw at the opening--> gathered --dealt a position--> waiting
--
-- KEYS[1] room      HASH    epoch, version, seq, joins, frontier, nonce, admitted, passed_over, buckets, rebuild, draw, settings, tick,
--                           the Redis process
-- KEYS[2] waiting   ZSET    user -> position               people in line
-- KEYS[3] away      ZSET    user -> position               people who were absent when they were next
-- KEYS[4] present   ZSET    user -> time in ms             until when a person near the front counts as present
-- KEYS[5] offers    ZSET    user -> time in ms             until when an offer can be claimed
-- KEYS[6] leases    ZSET    user -> time in ms             until when an admission lasts
-- KEYS[7] passes    HASH    user -> position:nonce         which admission an offer or a lease is
-- KEYS[8] expired   ZSET    user -> time in ms             people whose lease ran out in the last hour
-- KEYS[9] left      ZSET    user -> time in ms             people who left in the last hour
-- KEYS[10] caps     HASH    user -> time in ms             the absolute end of an admission; only a live hold reaches past it
-- KEYS[11] gathered ZSET    user -> entry                  people in the draw without a position
-- KEYS[12] events   STREAM  what happened, until it is recorded
-- KEYS[13] words    HASH    user -> word                   while the room is rebuilt: what gateways still know of people
-- KEYS[14] ended    HASH    user -> position               up to which position of a person an entry of `expired` or `left` counts
--
-- ARGV[1] now in ms, 0 for Redis TIME (tests pass another time)
-- ARGV[2] the settings that the caller knows, as JSON: `RoomSettings` in the gateway. The room keeps those of the highest
--         version that any caller brought; version 0 holds where no operator has set any, and gives way to any other.
-- ARGV[3] when the sale opens in ms, used where the settings name no time; 0 for open, -1 where the sale is over
-- ARGV[4] seen_epoch  ARGV[5] seen_version: the caller's evidence, the last epoch that it was answered from and the highest
--         version in it; 0 where it has seen nothing. A room that shows less lost its state, or the latest part of it.
-- ARGV[6] 1 where events are recorded, else 0
local ROOM, WAITING, AWAY, PRESENT = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local OFFERS, LEASES, PASSES, EXPIRED, LEFT = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local CAPS, GATHERED, EVENTS, WORDS, ENDED = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]

local STATE = { waiting = 1, admitted = 2, left = 3, expired = 4, closed = 5, gathering = 6, rebuilding = 7, unknown = 8 }
-- After a rebuild reached the front: how long no offer is made. People near the front poll every second or two, and those
-- whom only their own token knows must be back before anyone is let in.
local RETURN_MS = 4000
-- Epochs are tenths of a second since 2025 or more: a later life has the higher number, whatever the clocks do.
local EPOCH_ZERO_MS = 1735689600000
-- Above every position that can be recorded (a 32-bit integer) there is none.
local MAX_POSITION = 2147483647
local ENDED_KEPT_MS = 3600000
-- The stream of events that are not recorded yet: entries and bytes at most; the oldest give way.
local EVENTS_MAX, EVENT_BYTES_MAX = 200000, 268435456
local RECORDED = ARGV[6] == '1'

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local fields = redis.call('HMGET', ROOM, 'epoch', 'version', 'seq', 'joins', 'frontier', 'nonce', 'admitted', 'passed_over',
  'bucket', 'claims', 'bucket_at_ms', 'rebuilding', 'base_epoch', 'base_version', 'rebuilt_up_to', 'return_until_ms', 'draw',
  'entries', 'settings', 'event_bytes', 'server')
-- A whole number from 0 to `max`, or nil: what something else wrote into the room is not read as a number.
local function whole(text, max)
  local number = tonumber(text)
  return number and number >= 0 and number <= max and number == math.floor(number) and number or nil
end
local room = {
  epoch = whole(fields[1], 9007199254740991),
  version = whole(fields[2], 9007199254740991),
  seq = whole(fields[3], MAX_POSITION),
  joins = whole(fields[4], 9007199254740991) or 0,
  frontier = whole(fields[5], MAX_POSITION) or 0,
  nonce = whole(fields[6], 1023) or 0,
  admitted = whole(fields[7], 9007199254740991) or 0,
  passed_over = whole(fields[8], 9007199254740991) or 0,
  rebuilding = fields[12] == '1',
  base_epoch = whole(fields[13], 9007199254740991) or 0,
  base_version = whole(fields[14], 9007199254740991) or 0,
  rebuilt_up_to = whole(fields[15], MAX_POSITION) or 0,
  return_until_ms = tonumber(fields[16]) or 0,
  draw = fields[17] or '',
  entries = whole(fields[18], MAX_POSITION) or 0,
  settings_text = fields[19],
  event_bytes = tonumber(fields[20]) or 0,
  server = fields[21],
}

-- A clock that was set back must not hold offers back for longer than a loss does. `save` writes it down.
local is_clamped = room.return_until_ms > now + RETURN_MS
if is_clamped then room.return_until_ms = now + RETURN_MS end

-- Whether the room lost its state or the latest part of it, as far as this caller can see.
local seen_epoch, seen_version = tonumber(ARGV[4]), tonumber(ARGV[5])
-- The Redis process that runs this. A restart or a failover changes it, and only those can lose writes that were answered: an
-- epoch ends with the process that it was opened in. Asking costs about as much as ten commands.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local is_lost = not (room.epoch and room.version and room.seq) or room.server ~= server or room.epoch < seen_epoch
  or room.epoch == seen_epoch and room.version < seen_version
-- What each verb returns then, having changed nothing: the gateway opens the next epoch. The last two are what is known to have
-- been given: the epoch and position of a token, and the room's own highest position.
local LOST = { -1, now, room.epoch or 0, room.version or 0, 0, room.seq or 0 }

local given_settings = cjson.decode(ARGV[2])
local is_readable, settings = pcall(cjson.decode, room.settings_text or ARGV[2])
if not is_readable then settings, room.settings_text = given_settings, nil end
local rate_until_now = settings.admitPerSecond
if room.settings_text ~= ARGV[2] then
  if not room.settings_text or given_settings.version > settings.version
    or given_settings.version == 0 and settings.version == 0 then
    settings, room.settings_text = given_settings, ARGV[2]
  end
end
local is_over = tonumber(ARGV[3]) < 0
-- A sale that is over closes the room, however the room is set.
local is_closed = is_over or settings.mode == 'closed'
local opens_at_ms = settings.opensAtMs > 0 and settings.opensAtMs or math.max(0, tonumber(ARGV[3]))
-- Two token buckets of the same rate and size: offers that can be made now, and offers that can be claimed now. They are
-- refilled by the time that passed, at the rate that was set in that time. A clock set back refills nothing.
local refill = math.max(0, now - (tonumber(fields[11]) or now)) * rate_until_now / 1000
local bucket = math.min(settings.burst, (tonumber(fields[9]) or settings.burst) + refill)
local claims = tonumber(fields[10]) or settings.burst
-- An operator's extra offers put the bucket of claims above its size until they are claimed.
claims = math.max(claims, math.min(settings.burst, claims + refill))

local events = {}
-- Notes an event for the record: what, who, at which position, and details.
local function note(kind, user, position, detail)
  if RECORDED then
    events[#events + 1] = kind .. ' ' .. user .. ' ' .. position .. (detail and (' ' .. detail) or '')
  end
end

-- Adds the events to the stream. An entry's id is the epoch's start and the room's version, so that the record orders by what
-- the room did, not by clocks.
local function write_events()
  if #events == 0 then return end
  local text = table.concat(events, '\n')
  local id = string.format('%.0f-%.0f', EPOCH_ZERO_MS + room.epoch * 100, room.version)
  if room.event_bytes + #text > EVENT_BYTES_MAX then
    -- An eighth of the entries at once, so that it does not happen with every call.
    redis.call('XTRIM', EVENTS, 'MAXLEN', math.floor(redis.call('XLEN', EVENTS) * 7 / 8))
    room.event_bytes = math.floor(room.event_bytes * 7 / 8)
  end
  room.event_bytes = room.event_bytes + #text
  local at = string.format('%.0f', now)
  local epoch, version = string.format('%.0f', room.epoch), string.format('%.0f', room.version)
  local added = redis.pcall('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, id, 'at', at, 'epoch', epoch, 'version', version,
    'events', text)
  if type(added) == 'table' and added.err then
    -- Another version of Onsale wrote to the stream under a later id; ids go on behind it.
    redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, '*', 'at', at, 'epoch', epoch, 'version', version, 'events', text)
  end
end

-- Writes the room back, and the events with it. Every verb that changes anything ends with it.
local function save()
  room.version = room.version + 1
  write_events()
  redis.call('HSET', ROOM, 'epoch', string.format('%.0f', room.epoch), 'version', string.format('%.0f', room.version),
    'seq', room.seq, 'joins', room.joins, 'frontier', room.frontier, 'nonce', room.nonce, 'admitted', room.admitted,
    'passed_over', room.passed_over, 'bucket', bucket, 'claims', claims, 'bucket_at_ms', string.format('%.0f', now),
    'draw', room.draw, 'entries', room.entries, 'event_bytes', room.event_bytes)
  if room.settings_text ~= fields[19] then
    redis.call('HSET', ROOM, 'settings', room.settings_text)
  end
  if is_clamped then redis.call('HSET', ROOM, 'return_until_ms', string.format('%.0f', room.return_until_ms)) end
end

-- The first numbers of every answer. What a call changed is saved before.
local function head()
  return { room.epoch, now, room.version }
end

-- People who come before the opening take part in the draw; from the opening on, newcomers do not.
local function update_draw()
  if settings.order == 'random_at_open' and room.draw == '' and now < opens_at_ms then room.draw = 'pending' end
  if room.draw == 'pending' and settings.order ~= 'random_at_open' then room.draw = '' end
  if room.draw == 'pending' and now >= opens_at_ms and not room.rebuilding and now >= room.return_until_ms then
    room.entries = room.seq
    room.draw = redis.call('EXISTS', WAITING) == 1 and 'dealing' or 'done'
    if room.draw == 'dealing' then
      redis.call('RENAME', WAITING, GATHERED)
      redis.call('HSET', ROOM, 'ticked_at_ms', 0)
    end
    note('drawn', '-', room.entries)
  end
end

-- Whether positions are still entries of a draw.
local function is_undrawn()
  return room.draw == 'pending' or (settings.order == 'random_at_open' and room.draw == '' and now < opens_at_ms)
end

-- Whether everybody up to a position is back after a loss, so that the room knows who is there.
local function is_rebuilt(position)
  return not room.rebuilding or position <= room.rebuilt_up_to
end

-- Begins a lease. It lasts for the session, or, where the settings say so, for as long as it is used within the session.
local function begin_lease(user, position, nonce)
  local cap_ms = now + settings.sessionMs
  local lease_end = settings.idleMs > 0 and math.min(cap_ms, now + settings.idleMs) or cap_ms
  redis.call('HSET', CAPS, user, string.format('%.0f', cap_ms))
  redis.call('ZADD', LEASES, lease_end, user)
  note('admitted', user, position, string.format('%d %.0f %.0f', nonce, lease_end, cap_ms))
  return lease_end
end

-- Use renews a lease by the idle time, at most up to its cap, and never shortens it.
local function renew_lease(user, lease_end)
  if settings.idleMs == 0 then return lease_end end
  local cap_ms = tonumber(redis.call('HGET', CAPS, user)) or lease_end
  local renewed = math.max(lease_end, math.min(now + settings.idleMs, cap_ms))
  if renewed > lease_end then redis.call('ZADD', LEASES, renewed, user) end
  return renewed
end

-- Forgets an offer or a lease.
local function end_admission(user)
  redis.call('ZREM', OFFERS, user)
  redis.call('ZREM', LEASES, user)
  redis.call('HDEL', PASSES, user)
  redis.call('HDEL', CAPS, user)
end

-- Remembers for an hour that a person's position has ended. A mark counts for that position and the ones before it: a later join has
-- a higher one. Position 0 is one that is not known, and counts for all.
local function mark_ended(marks, user, position)
  redis.call('ZADD', marks, now, user)
  redis.call('ZREM', marks == LEFT and EXPIRED or LEFT, user)
  redis.call('HSET', ENDED, user, tonumber(position) > 0 and position or MAX_POSITION)
end

-- How a position of a person has ended, or nil.
local function ended(user, position)
  if position > (tonumber(redis.call('HGET', ENDED, user)) or 0) then return nil end
  if redis.call('ZSCORE', EXPIRED, user) then return STATE.expired end
  return redis.call('ZSCORE', LEFT, user) and STATE.left or nil
end

-- Ends a lease that ran out, and remembers that for an hour.
local function end_lease(user, position)
  end_admission(user)
  mark_ended(EXPIRED, user, position)
  note('expired', user, position)
end

-- Takes back an offer that was not claimed in time; the position is kept.
local function skip_offer(user, position)
  end_admission(user)
  redis.call('ZADD', AWAY, position, user)
  note('unclaimed', user, position)
end

-- Ends leases and offers that ran out, at most `limit` of each.
local function expire(limit)
  for _, user in ipairs(redis.call('ZRANGE', LEASES, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    local pass = redis.call('HGET', PASSES, user)
    end_lease(user, pass and string.match(pass, '^%d+') or 0)
  end
  for _, user in ipairs(redis.call('ZRANGE', OFFERS, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
    local pass = redis.call('HGET', PASSES, user)
    if pass then skip_offer(user, string.match(pass, '^%d+')) else end_admission(user) end
  end
end

-- Whether any offer can be made at all.
local function is_admitting()
  return not (is_closed or settings.paused or now < opens_at_ms or now < room.return_until_ms or room.draw == 'dealing'
    or room.rebuilding and room.rebuilt_up_to == 0)
end

-- How many more fit inside.
local function free_places()
  return settings.maxActive - redis.call('ZCARD', OFFERS) - redis.call('ZCARD', LEASES)
end

-- How many more offers can be made now: the bucket and the free places both allow it.
local function capacity()
  if not is_admitting() then return 0 end
  if settings.mode == 'passthrough' then return math.huge end
  return math.max(0, math.min(math.floor(bucket + 0.000001), free_places()))
end

-- Gives a position its admission and returns the nonce that distinguishes it from others of the same position.
local function admit(user, position)
  room.nonce = (room.nonce + 1) % 1024
  redis.call('HSET', PASSES, user, string.format('%.0f:%d', position, room.nonce))
  room.admitted = room.admitted + 1
  room.frontier = math.max(room.frontier, position)
  return room.nonce
end

-- Claims an offer. Claims are paced like offers: a claim that finds its bucket empty keeps the offer and comes again.
-- Returns state, position, detail, lease_end_ms, as `arrive` does.
local function claim(user, position, nonce, claim_end)
  if settings.mode ~= 'passthrough' then
    if claims < 0.999999 then
      local wait_ms = math.ceil((1 - claims) * 1000 / math.max(settings.admitPerSecond, 0.001))
      redis.call('ZADD', OFFERS, math.max(claim_end, now + wait_ms + settings.claimMs), user)
      return STATE.waiting, position, 0, wait_ms
    end
    claims = claims - 1
  end
  redis.call('ZREM', OFFERS, user)
  return STATE.admitted, position, nonce, begin_lease(user, position, nonce)
end

-- Where a person is who is here right now: an offer is claimed, a skipped person is back in line.
-- Returns state, position, detail, lease_end_ms; nil where the room does not know them. The detail is an admission's nonce, -1
-- in line, 0 of an offer that must wait for its claim (lease_end_ms: for how many ms).
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
    if claim_end and claim_end > now and not is_closed then return claim(user, position, nonce, claim_end) end
    skip_offer(user, position)
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

-- Takes a person out of wherever they are; their position, or nil where the room did not know them.
local function take_out(user)
  local position = redis.call('ZSCORE', WAITING, user) or redis.call('ZSCORE', AWAY, user)
    or redis.call('ZSCORE', GATHERED, user)
  if not position then
    local pass = redis.call('HGET', PASSES, user)
    position = pass and string.match(pass, '^%d+')
  end
  for _, set in ipairs({ WAITING, AWAY, PRESENT, GATHERED }) do redis.call('ZREM', set, user) end
  end_admission(user)
  return position
end

-- Puts a person where a word says they are, `kind` of: waiting, entered, away, admitted, left, expired. Nothing of what the room
-- held of them stays. Returns 1 where they are in the room then, else 0.
local function put(kind, user, position, nonce, lease_end, cap_ms)
  take_out(user)
  redis.call('ZREM', EXPIRED, user)
  redis.call('ZREM', LEFT, user)
  redis.call('HDEL', ENDED, user)
  room.seq = math.max(room.seq, position)
  -- Renewals are not recorded: an admission whose cap lies ahead can still be in use.
  if kind == 'admitted' and settings.idleMs > 0 then lease_end = math.max(lease_end, math.min(cap_ms, now + settings.idleMs)) end
  if kind == 'left' or kind == 'expired' or kind == 'admitted' and lease_end <= now then
    mark_ended(kind == 'left' and LEFT or EXPIRED, user, position)
    return 0
  elseif kind == 'admitted' then
    redis.call('HSET', PASSES, user, string.format('%.0f:%d', position, nonce))
    redis.call('ZADD', LEASES, lease_end, user)
    redis.call('HSET', CAPS, user, string.format('%.0f', cap_ms))
    room.frontier = math.max(room.frontier, position)
  elseif kind == 'away' then
    redis.call('ZADD', AWAY, position, user)
    room.frontier = math.max(room.frontier, position)
  elseif kind == 'entered' and room.draw == 'dealing' then
    redis.call('ZADD', GATHERED, position, user)
  else
    redis.call('ZADD', WAITING, position, user)
  end
  return 1
end
