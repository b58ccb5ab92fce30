#!lua
-- end: puts ended sessions into the log that gateways follow.
--
-- ATOMIC   all of it: entries are numbered by Redis' own time, so whoever follows the log misses none
-- RETRY    safe at any time: an entry that is there keeps its number
-- KEYS     [1] the log (sorted set: `session:last token's end in s` → number, µs of Redis' time)
--          [2] up to when the log has all that PostgreSQL has (ms of its time)
-- ARGV     [1] how long entries are kept in ms  [2] the new value of KEYS[2], 0 to leave it  [3..] entries
-- RETURNS  how many were new
-- COST     O(entries · log n), 1 command per entry and 3 more
local LOG, REFLECTED = KEYS[1], KEYS[2]
local keep_us, reflected_ms = ARGV[1] * 1000, ARGV[2]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]

local new = 0
for n = 3, #ARGV do
  new = new + redis.call('ZADD', LOG, 'NX', string.format('%.0f', now_us + n), ARGV[n])
end
redis.call('ZREMRANGEBYSCORE', LOG, '-inf', string.format('(%.0f', now_us - keep_us))
if reflected_ms ~= '0' then
  redis.call('SET', REFLECTED, reflected_ms)
end
return new
