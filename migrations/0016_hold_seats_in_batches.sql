-- Holds are written many in one transaction, which locks the seats before it writes. Holding by itself locks in the same
-- order now, so that neither waits for the other while the other waits for it.

CREATE OR REPLACE FUNCTION hold_seats(
    ids UUID[], seat_ids UUID[], holder UUID, concert UUID, fence BIGINT, limit_of_user INTEGER, payable_seconds DOUBLE PRECISION,
    who_waited BOOLEAN
) RETURNS TABLE (id UUID, seat_id UUID, amount NUMERIC(10, 2), reserved_at TIMESTAMP, payment_deadline TIMESTAMP)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    wanted INTEGER := cardinality(ids);
    found INTEGER;
BEGIN
    -- From here to the end of the transaction nobody else changes what this user has of this concert. Each statement
    -- below sees what was committed before it began.
    PERFORM pg_advisory_xact_lock(hashtextextended('hold:' || concert || ':' || holder, 0));
    IF wanted + (SELECT count(*) FROM reservations r
                 WHERE r.user_id = holder AND r.concert_id = concert AND r.status IN ('pending', 'completed'))
       > coalesce((SELECT c.seats_per_user FROM concerts c WHERE c.id = concert), limit_of_user) THEN
        RETURN;
    END IF;
    RETURN QUERY
        INSERT INTO reservations AS r (id, user_id, concert_id, seat_id, amount, reserved_at, payment_deadline, hold_fence)
        SELECT asked.id, holder, s.concert_id, s.id, s.price, at, at + make_interval(secs => payable_seconds), fence
        FROM now_utc() AS at, unnest(ids, seat_ids) AS asked (id, seat_id)
        JOIN seats s ON s.id = asked.seat_id
        WHERE s.concert_id = concert AND s.status = 'available' AND (NOT s.handing_on OR who_waited)
        ORDER BY s.id
        FOR NO KEY UPDATE OF s
        RETURNING r.id, r.seat_id, r.amount, r.reserved_at, r.payment_deadline;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found = wanted THEN
        UPDATE seats s SET status = 'reserved_temp' WHERE s.id = ANY(seat_ids) AND s.status = 'available';
        GET DIAGNOSTICS found = ROW_COUNT;
    END IF;
    IF found <> wanted THEN
        -- As if somebody had been faster by a moment: whoever asks is told the same.
        RAISE unique_violation USING CONSTRAINT = 'reservations_live_seat_id_key', MESSAGE = 'a seat is not free';
    END IF;
END $$;
