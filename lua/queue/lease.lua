#!lua flags=no-writes
-- lease: whether an admission is live: its lease runs, and its owner holds this very pass.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] user  [10] the pass as position:nonce
-- RETURNS  epoch, now_ms, changes, the lease's end in ms: 0 where there is none, -1 where that is not known yet, because
--          the room is being rebuilt or has to be
-- COST     O(1)
local lease_end = 0
if redis.call('HGET', PASSES, ARGV[9]) == ARGV[10] then
  lease_end = tonumber(redis.call('ZSCORE', LEASES, ARGV[9])) or 0
end
local is_unknown = lease_end == 0 and (room.rebuilding or not room.epoch)
  and not redis.call('ZSCORE', LEFT, ARGV[9])
return { room.epoch or 0, now, room.changes, lease_end > now and lease_end or (is_unknown and -1 or 0) }
