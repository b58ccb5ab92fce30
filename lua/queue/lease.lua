#!lua flags=no-writes
-- lease: whether an admission is live: its lease runs, and its owner holds this very pass.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] user  [8] the pass as position:nonce
-- RETURNS  epoch, now_ms, version, the lease's end in ms: 0 where there is none, -1 where the room cannot know yet,
--          because it is being rebuilt; or LOST, see room.lua
-- COST     O(1)
local position = tonumber(string.match(ARGV[8], '^%d+'))
-- No admission was ever given behind the frontier: a pass that says so is from a later moment than the room.
if is_lost or position > room.frontier then return LOST end
local lease_end = 0
if redis.call('HGET', PASSES, ARGV[7]) == ARGV[8] then
  lease_end = tonumber(redis.call('ZSCORE', LEASES, ARGV[7])) or 0
end
local is_unknown = lease_end == 0 and not is_rebuilt(position)
local reply = head()
reply[4] = lease_end > now and lease_end or (is_unknown and -1 or 0)
return reply
