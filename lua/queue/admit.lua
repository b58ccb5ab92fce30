#!lua
-- admit: offers their turn to the lowest positions among those present, as many as the rate and the free places allow.
-- Any gateway calls it several times a second; two at once do no more than one.
--
-- Who is absent is set aside with their number. Absent is only who was expected and did not come: someone whose time
-- to be back has passed, or who has been near the front for a whole settling time without a sign. Someone of whom
-- nothing can be known yet is offered their turn: they may well be there.
--
-- ATOMIC   all of it: the allowance is worked out and spent in one step
-- RETRY    safe at any time: what was spent is spent
-- KEYS     [1..9] the room's keys, see room.lua
-- ARGV     [1..9] the room's arguments, see room.lua
--          [10] reach: how many from the front are watched for presence
--          [11] settle_ms: within what time everyone near the front has been asked to poll
--          [12] max_offers, [13] max_examined: bounds of one call
-- RETURNS  epoch, now_ms, offered, set aside
-- COST     O((offered + set aside) log n); about 6 commands for each of them
ensure_room()
expire(1000)
redis.call('ZREMRANGEBYSCORE', EXPIRED, '-inf', now - ENDED_KEPT_MS)
redis.call('ZREMRANGEBYSCORE', LEFT, '-inf', now - ENDED_KEPT_MS)

local reach, settle_ms = tonumber(ARGV[10]), tonumber(ARGV[11])
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

local function is_absent(user, position)
  if now < grace_until then return false end
  local until_ms = tonumber(redis.call('ZSCORE', PRESENT, user))
  if until_ms then return until_ms <= now end
  return position <= horizon
end

local bucket = refill()
local free = math.min(capacity(bucket), tonumber(ARGV[12]))
local max_examined = tonumber(ARGV[13])
local offered, aside = 0, 0
while offered < free and offered + aside < max_examined do
  local wanted = math.min(free - offered, max_examined - offered - aside, 100)
  local next_in_line = redis.call('ZRANGE', WAITING, 0, wanted - 1, 'WITHSCORES')
  if #next_in_line == 0 then break end
  for i = 1, #next_in_line, 2 do
    local user, position = next_in_line[i], tonumber(next_in_line[i + 1])
    redis.call('ZREM', WAITING, user)
    if is_absent(user, position) then
      set_aside(user, position)
      aside = aside + 1
      if position > room.frontier then
        room.frontier = position
        redis.call('HSET', ROOM, 'frontier', position)
      end
    else
      redis.call('ZREM', PRESENT, user)
      give_turn(user, position, OFFERS, now + room.claim_ms)
      offered = offered + 1
    end
  end
end
if room.mode ~= 'passthrough' then bucket = bucket - offered end
save_bucket(bucket)
return { room.epoch, now, offered, aside }
