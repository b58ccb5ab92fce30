#!lua flags=no-writes
-- gathered: who takes part in the draw and has no position yet, some of them.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] how many at most
-- RETURNS  {user, entry, user, entry, …}, the lowest entries first
-- COST     O(log n + how many)
return redis.call('ZRANGE', GATHERED, 0, tonumber(ARGV[9]) - 1, 'WITHSCORES')
