#!lua flags=no-writes
-- lease: whether an admission is live: its lease runs, and its owner holds this very pass.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..9] the room's keys, see room.lua
-- ARGV     [1..9] the room's arguments, see room.lua
--          [10] user  [11] the pass as position:nonce
-- RETURNS  epoch, now_ms, the lease's end in ms, 0 where there is none
-- COST     O(1)
local lease_end = 0
if redis.call('HGET', PASSES, ARGV[10]) == ARGV[11] then
  lease_end = tonumber(redis.call('ZSCORE', LEASES, ARGV[10])) or 0
end
return { room.epoch or 0, now, lease_end > now and lease_end or 0 }
