-- Reservations that ended a short while ago are looked at every other second, for locks that a crash has left behind.
CREATE INDEX reservations_ended_payment_deadline_idx ON reservations (payment_deadline DESC)
    WHERE status = 'canceled' AND hold_fence IS NOT NULL;
