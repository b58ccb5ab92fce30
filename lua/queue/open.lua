#!lua
-- open: begins an epoch of the room: its first, or the next one after its state was lost or rolled back.
--
-- Called by a gateway that was answered LOST, once it has won the epoch in the record where there is one. The sets are kept:
-- after a rollback they are right up to the room's last version, which is remembered as the base, and only newer words count.
--
-- ATOMIC   all of it: of two calls that found the same loss, the second changes nothing
-- RETRY    safe at any time: an epoch is opened once
-- KEYS     [1..14] the room's keys, see room.lua
-- ARGV     [1..6] the room's arguments, see room.lua
--          [7] lost_epoch: the epoch that was found lost, 0 where there was none
--          [8] epoch: the new one
--          [9] position, [10] frontier: the highest that anyone knows of the epochs before
--          [11] gap: how far positions jump once, so that none is given twice
--          [12] 1 where there was an epoch before: the room is to be rebuilt
-- RETURNS  epoch, now_ms, version, 1 where this call opened it
-- COST     about 12 commands
local lost_epoch, epoch = tonumber(ARGV[7]), tonumber(ARGV[8])
local reply
if (room.epoch or 0) ~= lost_epoch or epoch <= (room.epoch or 0) or epoch < seen_epoch then
  reply = head()
  reply[1], reply[3], reply[4] = room.epoch or 0, room.version or 0, 0
  return reply
end

local is_first_life = ARGV[12] ~= '1'
-- A room that was lost while it was rebuilt is still as far as it was when that began.
if not room.rebuilding then room.base_epoch, room.base_version = room.epoch or 0, room.version or 0 end
if room.epoch and not room.version then
  -- A room of an earlier version of Onsale, whose events are ordered by time: everything recorded until now is older.
  room.base_epoch, room.base_version = math.floor((now - EPOCH_ZERO_MS) / 100), 0
end
-- Without a last tick absence proves nothing for a while.
redis.call('HDEL', ROOM, 'ticked_at_ms', 'changes')
redis.call('UNLINK', WORDS)

room.epoch, room.version = epoch, 0
room.seq = is_first_life and 0 or math.min(math.max(room.seq or 0, tonumber(ARGV[9])) + tonumber(ARGV[11]), MAX_POSITION)
room.joins = 0
room.rebuilding, room.rebuilt_up_to, room.return_until_ms = not is_first_life, 0, 0
room.frontier = math.max(room.frontier, tonumber(ARGV[10]))
if not is_first_life then
  -- What was admitted of late is not known: nothing is saved up.
  bucket, claims = 0, 0
  note('lost', '-', room.seq)
  -- A draw that was made is in the record, and comes back with the first people. One that was not is still to be made.
  if RECORDED and settings.order == 'random_at_open' and room.draw == '' then room.draw = 'pending' end
end
redis.call('HSET', ROOM, 'rebuilding', room.rebuilding and 1 or 0, 'base_epoch', string.format('%.0f', room.base_epoch),
  'base_version', string.format('%.0f', room.base_version), 'base_frontier', room.frontier, 'rebuilt_up_to', 0,
  'return_until_ms', 0, 'server', server)
update_draw()
save()
reply = head()
reply[4] = 1
return reply
