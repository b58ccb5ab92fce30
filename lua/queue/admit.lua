#!lua
-- admit: offers admission to the lowest positions among the people who are present, as many as the rate and the free places
-- allow. Any gateway calls it several times a second; two calls at once do no more than one.
--
-- An absent person is skipped and keeps their position. Absent means: expected and not there, because the time of their next
-- poll has passed, or because they were near the front for a whole settling time without a sign. A person of whom nothing can
-- be known yet gets an offer: they may well be there.
--
-- ATOMIC   all of it: the allowance is worked out and spent in one step
-- RETRY    safe at any time: what was spent is spent; but a repeated [11] offers again
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] reach: how many from the front are watched for presence
--          [8] settle_ms: within what time every person near the front has been asked to poll
--          [9] max_offers, [10] max_examined: bounds of one call
--          [11] extra: offers that an operator makes beside the rate, also while paused; the free places bound them
-- RETURNS  epoch, now_ms, version, offered, skipped; or LOST, see room.lua
-- COST     O((offered + skipped) log n); about 6 commands for each hundred of them, 1 for each offer
if is_lost then return LOST end
local FINISHED_KEPT_MS = 3600000
update_draw()
expire(1000)
for _, marks in ipairs({ EXPIRED, LEFT }) do
  local old = redis.call('ZRANGE', marks, '-inf', now - ENDED_KEPT_MS, 'BYSCORE', 'LIMIT', 0, 1000)
  if #old > 0 then
    redis.call('ZREM', marks, unpack(old))
    redis.call('HDEL', ENDED, unpack(old))
  end
end

local reach, settle_ms = tonumber(ARGV[7]), tonumber(ARGV[8])
local state = redis.call('HMGET', ROOM, 'ticked_at_ms', 'grace_until_ms', 'horizon', 'next_horizon', 'next_horizon_at_ms',
  'finished_at_ms')
-- Clamped: a clock that was set back must not make a time of before it lie far ahead.
local function past(text) return math.min(tonumber(text) or 0, now) end
local ticked_at, grace_until = past(state[1]), math.min(tonumber(state[2]) or 0, now + settle_ms)
local horizon, next_horizon, next_at = tonumber(state[3]) or 0, tonumber(state[4]) or 0, past(state[5])

-- After a while without ticks no poll could be answered either: absence says nothing until people had time to return.
if now - ticked_at > 5000 then grace_until = now + settle_ms end
-- The horizon is the position up to which everyone has been within reach for a settling time.
if now - next_at >= settle_ms then
  horizon = next_horizon
  local at_reach = redis.call('ZRANGE', WAITING, reach, reach, 'WITHSCORES')
  next_horizon = tonumber(at_reach[2]) or room.seq
  next_at = now
end
redis.call('HSET', ROOM, 'ticked_at_ms', now, 'grace_until_ms', grace_until,
  'horizon', horizon, 'next_horizon', next_horizon, 'next_horizon_at_ms', next_at)

local function is_absent(position, present_until_ms)
  if now < grace_until then return false end
  if present_until_ms then return tonumber(present_until_ms) <= now end
  return position <= horizon
end

local by_rate = math.min(capacity(), tonumber(ARGV[9]))
local extra = tonumber(ARGV[11])
local free = by_rate
if extra > 0 and not is_closed and room.draw ~= 'dealing' and now >= room.return_until_ms and not room.rebuilding then
  free = math.min(by_rate + extra, math.max(0, free_places()), tonumber(ARGV[9]))
end
local max_examined = tonumber(ARGV[10])
local offered, skipped = 0, 0
while offered < free and offered + skipped < max_examined do
  local wanted = math.min(free - offered, max_examined - offered - skipped, 100)
  local next_in_line = redis.call('ZRANGE', WAITING, 0, wanted - 1, 'WITHSCORES')
  local people = {}
  for i = 1, #next_in_line, 2 do
    -- Behind what is rebuilt, somebody who is still missing may be in front.
    if not is_rebuilt(tonumber(next_in_line[i + 1])) then break end
    people[#people + 1] = next_in_line[i]
  end
  if #people == 0 then break end
  local present_until = redis.call('ZMSCORE', PRESENT, unpack(people))
  redis.call('ZREM', WAITING, unpack(people))
  redis.call('ZREM', PRESENT, unpack(people))
  local offers, absent = {}, {}
  for i, user in ipairs(people) do
    local position = tonumber(next_in_line[2 * i])
    if is_absent(position, present_until[i]) then
      absent[#absent + 1], absent[#absent + 2] = position, user
      skipped = skipped + 1
      room.passed_over = room.passed_over + 1
      note('absent', user, position)
      room.frontier = math.max(room.frontier, position)
    else
      admit(user, position)
      offers[#offers + 1], offers[#offers + 2] = now + settings.claimMs, user
      offered = offered + 1
      note('offered', user, position)
    end
  end
  if #offers > 0 then redis.call('ZADD', OFFERS, unpack(offers)) end
  if #absent > 0 then redis.call('ZADD', AWAY, unpack(absent)) end
end
if settings.mode ~= 'passthrough' then
  bucket = bucket - math.min(offered, by_rate)
  -- An operator's extra offers can be claimed beside the rate, for as long as there are any.
  claims = math.min(claims + math.max(0, offered - by_rate), math.max(settings.burst, redis.call('ZCARD', OFFERS)))
end

-- A room whose sale is over and which is empty goes away an hour later, with all its keys. What support needs is in the
-- record.
if is_over and redis.call('EXISTS', LEASES, OFFERS) == 0 and redis.call('XLEN', EVENTS) == 0 then
  local finished_at = tonumber(state[6])
  if not finished_at then
    finished_at = now
    redis.call('HSET', ROOM, 'finished_at_ms', string.format('%.0f', now))
  end
  save()
  local left_ms = math.max(1, math.floor(math.min(finished_at, now) + FINISHED_KEPT_MS - now))
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, left_ms) end
else
  if state[6] then
    redis.call('HDEL', ROOM, 'finished_at_ms')
    for _, key in ipairs(KEYS) do redis.call('PERSIST', key) end
  end
  save()
end
local reply = head()
reply[4], reply[5] = offered, skipped
return reply

