#!lua
-- admit: offers their turn to the lowest positions among those present, as many as the rate and the free places allow.
-- Any gateway calls it several times a second; two at once do no more than one.
--
-- Who is absent is set aside with their number. Absent is only who was expected and did not come: someone whose time
-- to be back has passed, or who has been near the front for a whole settling time without a sign. Someone of whom
-- nothing can be known yet is offered their turn: they may well be there.
--
-- ATOMIC   all of it: the allowance is worked out and spent in one step
-- RETRY    safe at any time: what was spent is spent; but a repeated [13] offers again
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] reach: how many from the front are watched for presence
--          [10] settle_ms: within what time everyone near the front has been asked to poll
--          [11] max_offers, [12] max_examined: bounds of one call
--          [13] extra: turns that an operator gives beside the rate, also while paused; the free places bound them
-- RETURNS  epoch, now_ms, changes, offered, set aside
-- COST     O((offered + set aside) log n); about 6 commands for each hundred of them, 1 for each offer
ensure_room()
expire(1000)
redis.call('ZREMRANGEBYSCORE', EXPIRED, '-inf', now - ENDED_KEPT_MS)
redis.call('ZREMRANGEBYSCORE', LEFT, '-inf', now - ENDED_KEPT_MS)

local reach, settle_ms = tonumber(ARGV[9]), tonumber(ARGV[10])
local state = redis.call('HMGET', ROOM, 'ticked_at_ms', 'grace_until_ms', 'horizon', 'next_horizon', 'next_horizon_at_ms')
local ticked_at, grace_until = tonumber(state[1]) or 0, tonumber(state[2]) or 0
local horizon, next_horizon, next_at = tonumber(state[3]) or 0, tonumber(state[4]) or 0, tonumber(state[5]) or 0

-- Where nobody ticked for a while, nobody could poll either: their absence says nothing until they had time to return.
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

local by_rate = math.min(capacity(), tonumber(ARGV[11]))
local extra = tonumber(ARGV[13])
local free = by_rate
if extra > 0 and not is_closed and room.draw ~= 'dealing' and not room.rebuilding then
  free = math.min(by_rate + extra, math.max(0, free_places()), tonumber(ARGV[11]))
end
local max_examined = tonumber(ARGV[12])
local offered, aside = 0, 0
while offered < free and offered + aside < max_examined do
  local wanted = math.min(free - offered, max_examined - offered - aside, 100)
  local next_in_line = redis.call('ZRANGE', WAITING, 0, wanted - 1, 'WITHSCORES')
  if #next_in_line == 0 then break end
  local people = {}
  for i = 1, #next_in_line, 2 do people[#people + 1] = next_in_line[i] end
  local present_until = redis.call('ZMSCORE', PRESENT, unpack(people))
  redis.call('ZREM', WAITING, unpack(people))
  redis.call('ZREM', PRESENT, unpack(people))
  local offers, absent = {}, {}
  for i, user in ipairs(people) do
    local position = tonumber(next_in_line[2 * i])
    if is_absent(position, present_until[i]) then
      absent[#absent + 1], absent[#absent + 2] = position, user
      aside = aside + 1
      room.passed_over = room.passed_over + 1
      note('absent', user, position)
      room.frontier = math.max(room.frontier, position)
    else
      give_turn(user, position)
      offers[#offers + 1], offers[#offers + 2] = now + settings.claimMs, user
      offered = offered + 1
      note('offered', user, position)
    end
  end
  if #offers > 0 then redis.call('ZADD', OFFERS, unpack(offers)) end
  if #absent > 0 then redis.call('ZADD', AWAY, unpack(absent)) end
end
if settings.mode ~= 'passthrough' then bucket = bucket - math.min(offered, by_rate) end
save()
return { room.epoch, now, room.changes, offered, aside }
