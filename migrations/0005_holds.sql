-- Holds: a limit of seats per concert, and that a hold was extended.

ALTER TABLE concerts ADD COLUMN seats_per_user INT
    CONSTRAINT concerts_seats_per_user_check CHECK (seats_per_user BETWEEN 1 AND 20);
COMMENT ON COLUMN concerts.seats_per_user IS 'Added: how many seats of this concert a user may hold and own. NULL: as many as core-api''s setting says.';

ALTER TABLE reservations ADD COLUMN extended_at TIMESTAMP;
COMMENT ON COLUMN reservations.extended_at IS 'Added: when its deadline was put off, which can be done once. NULL: it was not.';
