#!lua
-- pass_on: hands a seat's lock from one person to the next, so that nobody can come in between.
--
-- ATOMIC   all of it: the lock is changed only where it still is the very one meant, or there is none
-- RETRY    a repeat finds the lock changed, by itself perhaps; an unanswered call's lock ends by itself
-- KEYS     [1] the concert's fence (a counter that only rises)  [2] the seat's lock
-- ARGV     [1] the value that the lock has to have, `user:fence`, where there is one
--          [2] the next owner  [3] the lock's life in ms
-- RETURNS  the fence of the new lock, whose value is `user:fence`; 0 where the lock is somebody else's
-- COST     O(1), 3 commands
local FENCE, SEAT = KEYS[1], KEYS[2]
local meant, user, life_ms = ARGV[1], ARGV[2], ARGV[3]

local found = redis.call('GET', SEAT)
if found and found ~= meant then
  return 0
end
local fence = redis.call('INCR', FENCE)
redis.call('SET', SEAT, user .. ':' .. fence, 'PX', life_ms)
return fence
