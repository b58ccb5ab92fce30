#!lua flags=no-writes
-- snapshot: all that a gateway needs to answer polls from memory until its next one.
--
-- The rank table pairs positions with the number of people in line before them: exact at the front, then at distances
-- that grow with the rank, so that what is interpolated between two entries is off by at most their ratio.
--
-- ATOMIC   a consistent view
-- RETRY    safe: it only reads
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] left_since_ms: from when on to tell who left
--          [10] exact: how many ranks from the front are told one by one
--          [11] growth: the ratio of neighbouring ranks behind those, above 1
-- RETURNS  {epoch (0: no such room), now_ms, changes, seq, frontier, waiting, away, present, offered, leased, gathered,
--           turns given so far, passed over so far, opens_at_ms, 1 where it is being rebuilt, entries of the draw, events not recorded yet},
--          the draw ('', 'pending', 'dealing', 'done'), the settings in force as JSON,
--          {users who left, at most 1000, the earliest first}, the time in ms up to which that tells all,
--          {position, rank, position, rank, …}
-- COST     O(t log n), t entries of the table: about 64 + log(n / 64) / log(growth)
local waiting = redis.call('ZCARD', WAITING)
local counts = {
  room.epoch or 0, now, room.changes, room.seq, room.frontier, waiting, redis.call('ZCARD', AWAY),
  redis.call('ZCARD', PRESENT), redis.call('ZCARD', OFFERS), redis.call('ZCARD', LEASES), redis.call('ZCARD', GATHERED),
  room.admitted, room.passed_over, opens_at_ms, room.rebuilding and 1 or 0, room.entries, redis.call('XLEN', EVENTS),
}

local left, told_until_ms = {}, now
local entries = redis.call('ZRANGE', LEFT, ARGV[9], '+inf', 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
for i = 1, #entries, 2 do left[#left + 1] = entries[i] end
if #left == 1000 then told_until_ms = tonumber(entries[2000]) end

local exact, growth = tonumber(ARGV[10]), tonumber(ARGV[11])
local ranks = {}
local front = redis.call('ZRANGE', WAITING, 0, exact - 1, 'WITHSCORES')
for i = 2, #front, 2 do
  ranks[#ranks + 1] = tonumber(front[i])
  ranks[#ranks + 1] = i / 2 - 1
end
local rank = exact
while rank < waiting do
  local entry = redis.call('ZRANGE', WAITING, rank, rank, 'WITHSCORES')
  ranks[#ranks + 1] = tonumber(entry[2])
  ranks[#ranks + 1] = rank
  rank = math.max(rank + 1, math.floor(rank * growth))
end
if waiting > exact then
  local last = redis.call('ZRANGE', WAITING, -1, -1, 'WITHSCORES')
  ranks[#ranks + 1] = tonumber(last[2])
  ranks[#ranks + 1] = waiting - 1
end
return { counts, room.draw, room.settings_text, left, told_until_ms, ranks }
