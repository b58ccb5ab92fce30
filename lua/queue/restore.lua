#!lua
-- restore: tells a room that lost its memory, or a part of it, what the record or a gateway still knows of people.
--
-- What the room knows from its present life goes before: somebody who has left in it is not brought back, somebody
-- inside is not put into line. A place in line that is nearer the front than the one known replaces it.
--
-- ATOMIC   all of it
-- RETRY    safe at any time: what is known already changes nothing
-- KEYS     [1..12] the room's keys, see room.lua
-- ARGV     [1..8] the room's arguments, see room.lua
--          [9] 1 where this was all: the room is rebuilt
--          [10] the draw as it was: '', 'pending', 'dealing', 'done'  [11] its number of entries
--          [12..] six for each person: what they are ('waiting', 'entered', 'admitted', 'left'), user, position, nonce,
--          the lease's end and its cap in ms (0 where they have none)
-- RETURNS  epoch, now_ms, changes, how many people it put somewhere
-- COST     O(log n) a person; about 6 commands each
ensure_room()
local put, gap = 0, tonumber(ARGV[7])
if ARGV[10] == 'dealing' or ARGV[10] == 'done' then
  if room.draw == '' or room.draw == 'pending' then room.draw, room.entries = ARGV[10], tonumber(ARGV[11]) end
end

local function wait(user, position, set)
  if redis.call('HEXISTS', PASSES, user) == 1 or redis.call('ZSCORE', AWAY, user) then return end
  if set == WAITING and redis.call('ZSCORE', GATHERED, user) then return end
  if set == GATHERED and redis.call('ZSCORE', WAITING, user) then return end
  put = put + redis.call('ZADD', set, 'LT', 'CH', position, user)
end

local function admit(user, position, nonce, lease_end, cap_ms)
  if lease_end <= now or redis.call('ZSCORE', LEASES, user) then return end
  take_out(user)
  redis.call('HSET', PASSES, user, string.format('%.0f:%d', position, nonce))
  redis.call('ZADD', LEASES, lease_end, user)
  if settings.idleMs > 0 then redis.call('HSET', CAPS, user, cap_ms) end
  room.frontier = math.max(room.frontier, position)
  put = put + 1
end

for i = 12, #ARGV, 6 do
  local what, user, position = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  room.seq = math.max(room.seq, position + gap)
  if what == 'left' then
    if take_out(user) then put = put + 1 end
    redis.call('ZADD', LEFT, now, user)
  elseif not redis.call('ZSCORE', LEFT, user) then
    if what == 'admitted' then
      admit(user, position, tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]))
    elseif what == 'entered' and room.draw == 'dealing' then
      wait(user, position, GATHERED)
    else
      wait(user, position, WAITING)
    end
  end
end
if ARGV[9] == '1' and room.rebuilding then
  redis.call('HSET', ROOM, 'rebuilding', 0)
  if room.draw == 'dealing' and redis.call('ZCARD', GATHERED) == 0 then room.draw = 'done' end
end
save()
return { room.epoch, now, room.changes, put }
