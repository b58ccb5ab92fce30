#!lua
-- keep: lets locks live as long as their reservations may be paid for, each only where it still is the very one meant.
--
-- A lock is taken for a short time only: whoever dies between taking it and writing the reservation must not keep a seat
-- from everybody for minutes. Once the reservation is written, this gives the lock its whole life.
--
-- ATOMIC   all of it; per seat it is compare-and-extend, so that a late call can't extend a later holder's lock
-- RETRY    safe at any time: it sets the same life again
-- KEYS     [1..] one lock per seat, all of one concert
-- ARGV     [1] the locks' life in ms  [2..] the value each lock has to have, `user:fence`, one per key
-- RETURNS  how many were kept
-- COST     O(seats), 1 command per seat and 1 more per lock kept
local kept = 0
for n = 1, #KEYS do
  if redis.call('GET', KEYS[n]) == ARGV[n + 1] then
    kept = kept + redis.call('PEXPIRE', KEYS[n], ARGV[1])
  end
end
return kept
