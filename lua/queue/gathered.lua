#!lua flags=no-writes
-- gathered: some of the people in the draw who have no position yet.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] how many at most
-- RETURNS  {user, entry, user, entry, …}, the lowest entries first; or LOST, see room.lua
-- COST     O(log n + how many)
if is_lost then return LOST end
return redis.call('ZRANGE', GATHERED, 0, tonumber(ARGV[7]) - 1, 'WITHSCORES')
