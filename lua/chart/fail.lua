#!lua
-- fail: counts payments of a concert that came to nothing.
--
-- Whichever core-api decides it tells it, once, right after the decision is written: one sum for all of them, beside those of
-- the gateways, whose next point has it.
--
-- ATOMIC   all of it
-- RETRY    not safe: what is told twice counts twice
-- KEYS     [1] sums HASH failed_payments: how many came to nothing; the rest is the gateways', see chart/add
-- ARGV     [1] how many more  [2] for how many seconds the sum is kept
-- RETURNS  the sum
-- COST     O(1): 2 commands
local failed = redis.call('HINCRBY', KEYS[1], 'failed_payments', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return failed
