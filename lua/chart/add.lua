#!lua
-- add: takes in what one gateway has counted, and writes the room's point of this second where no gateway has yet.
--
-- The counts of all gateways are one sum, so a gateway that is gone leaves nothing behind that would have to be cleared.
--
-- ATOMIC   all of it: a second has one point, that of the gateway which comes first, with the sums as they are then
-- RETRY    not safe: what was counted would count twice
-- KEYS     [1] sums HASH joins, polls, errors: what all gateways have counted; failed_payments: what all core-apis have
--              (chart/fail); second: that of the latest point
--          [2] points STREAM <second in ms>-0 -> p: the room as the gateway tells it; s: the sums, separated by commas
-- ARGV     [1] now in ms, 0 for Redis TIME (anything else is a test's)
--          [2] joins  [3] polls  [4] errors: counted since this gateway last told
--          [5] point: the room as it is now  [6] for how many seconds points are kept
-- RETURNS  1 where the point was written, else 0
-- COST     O(1): 6 commands, 4 more for a point
local SUMS, POINTS = KEYS[1], KEYS[2]
local now_ms, kept = tonumber(ARGV[1]), tonumber(ARGV[6])
local second = math.floor(now_ms / 1000)
if now_ms == 0 then
  second = tonumber(redis.call('TIME')[1])
end

local joins = redis.call('HINCRBY', SUMS, 'joins', ARGV[2])
local polls = redis.call('HINCRBY', SUMS, 'polls', ARGV[3])
local errors = redis.call('HINCRBY', SUMS, 'errors', ARGV[4])
local known = redis.call('HMGET', SUMS, 'second', 'failed_payments')
local latest, failed_payments = tonumber(known[1]) or 0, tonumber(known[2]) or 0
redis.call('EXPIRE', SUMS, kept)
-- Another server with another clock may have taken over: one that is a little behind is waited for; where it is far
-- behind, what comes is worth more than what was.
if second <= latest and latest - second < 10 then
  return 0
end
if second < latest then
  redis.call('DEL', POINTS)
end
redis.call('HSET', SUMS, 'second', second)
local id = function(at) return string.format('%.0f-0', at * 1000) end
redis.call('XADD', POINTS, 'MINID', '=', id(math.max(0, second - kept + 1)), id(second), 'p', ARGV[5], 's',
  string.format('%.0f,%.0f,%.0f,%.0f', joins, polls, errors, failed_payments))
redis.call('EXPIRE', POINTS, kept)
return 1
