-- The original data model: users, concerts, seats, queue, reservations, payments.
-- Where a table differs from the original and why: docs/SCHEMA.md, and COMMENT ON below.

-- Every TIMESTAMP holds UTC. Decisions that depend on the time (deadlines, openings) ask this function and nothing else,
-- so that all of them share one clock, and a test can move it by replacing the function in its own database.
-- clock_timestamp(), not now(): what is decided under a lock is decided at the time after the wait for the lock.
CREATE FUNCTION now_utc() RETURNS TIMESTAMP
    LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT clock_timestamp() AT TIME ZONE 'UTC' $$;
COMMENT ON FUNCTION now_utc() IS 'The time that decides, in UTC. Queries compare with (SELECT now_utc()), which is evaluated once and so can use an index.';

CREATE FUNCTION set_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$ BEGIN NEW.updated_at := now_utc(); RETURN NEW; END $$;
COMMENT ON FUNCTION set_updated_at() IS 'Keeps updated_at right whoever writes.';

CREATE TABLE users (
    id         UUID          CONSTRAINT users_pkey PRIMARY KEY,
    username   VARCHAR(255)  NOT NULL,
    email      VARCHAR(255)  NOT NULL CONSTRAINT users_email_key UNIQUE,
    balance    DECIMAL(10,2) NOT NULL DEFAULT 0.00
        CONSTRAINT users_balance_not_negative_check CHECK (balance >= 0),
    created_at TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    -- An email belongs to one account whatever its case, so there is only one case.
    CONSTRAINT users_email_lower_case_check CHECK (email = lower(email))
);
COMMENT ON COLUMN users.email IS 'Lower case.';
COMMENT ON COLUMN users.balance IS 'Always the sum of the user''s ledger entries; kept here so that paying needs one row.';

CREATE TABLE concerts (
    id           UUID         CONSTRAINT concerts_pkey PRIMARY KEY,
    name         VARCHAR(255) NOT NULL,
    venue        VARCHAR(255) NOT NULL,
    concert_date DATE         NOT NULL,
    created_at   TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at   TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX concerts_concert_date_id_idx ON concerts (concert_date, id);

CREATE TABLE seats (
    id          UUID          CONSTRAINT seats_pkey PRIMARY KEY,
    concert_id  UUID          NOT NULL CONSTRAINT seats_concert_id_fkey REFERENCES concerts (id),
    seat_number INT           NOT NULL CONSTRAINT seats_seat_number_check CHECK (seat_number BETWEEN 1 AND 50),
    status      VARCHAR(20)   NOT NULL DEFAULT 'available'
        CONSTRAINT seats_status_check CHECK (status IN ('available', 'reserved_temp', 'reserved_final')),
    section     VARCHAR(20)   NOT NULL DEFAULT 'A' CONSTRAINT seats_section_check CHECK (section <> ''),
    price       DECIMAL(10,2) NOT NULL DEFAULT 0.00 CONSTRAINT seats_price_check CHECK (price >= 0),
    created_at  TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at  TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT seats_concert_id_section_seat_number_key UNIQUE (concert_id, section, seat_number)
);
COMMENT ON COLUMN seats.section IS 'Added: a section numbers its own seats 1-50. A concert whose seats are all in section A is exactly the original.';
COMMENT ON COLUMN seats.price IS 'Added: what the seat costs.';
COMMENT ON CONSTRAINT seats_concert_id_section_seat_number_key ON seats IS 'The original''s UNIQUE (concert_id, seat_number), per section.';
-- The counts per concert are read from this index alone.
CREATE INDEX seats_concert_id_status_idx ON seats (concert_id, status);

CREATE TABLE queue (
    id             UUID         CONSTRAINT queue_pkey PRIMARY KEY,
    user_id        UUID         NOT NULL CONSTRAINT queue_user_id_fkey REFERENCES users (id),
    concert_id     UUID         NOT NULL CONSTRAINT queue_concert_id_fkey REFERENCES concerts (id),
    queue_position INT          NOT NULL,
    wait_time      VARCHAR(50),
    token          VARCHAR(255) CONSTRAINT queue_token_key UNIQUE,
    created_at     TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at     TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT queue_user_id_concert_id_key UNIQUE (user_id, concert_id)
);
CREATE INDEX queue_concert_id_queue_position_idx ON queue (concert_id, queue_position);

CREATE TABLE reservations (
    id               UUID          CONSTRAINT reservations_pkey PRIMARY KEY,
    user_id          UUID          NOT NULL CONSTRAINT reservations_user_id_fkey REFERENCES users (id),
    concert_id       UUID          NOT NULL CONSTRAINT reservations_concert_id_fkey REFERENCES concerts (id),
    seat_id          UUID          NOT NULL CONSTRAINT reservations_seat_id_fkey REFERENCES seats (id),
    status           VARCHAR(20)   NOT NULL DEFAULT 'pending'
        CONSTRAINT reservations_status_check CHECK (status IN ('pending', 'completed', 'canceled')),
    amount           DECIMAL(10,2) NOT NULL CONSTRAINT reservations_amount_check CHECK (amount >= 0),
    reserved_at      TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    payment_deadline TIMESTAMP     NOT NULL,
    completed_at     TIMESTAMP,
    hold_fence       BIGINT,
    created_at       TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at       TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT reservations_completed_at_check CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);
COMMENT ON COLUMN reservations.hold_fence IS 'Added: the fence number of the seat''s lock in Redis, so that whoever ends the reservation releases that lock and no later one.';
-- What sells a seat at most once, whatever Redis says.
CREATE UNIQUE INDEX reservations_live_seat_id_key ON reservations (seat_id) WHERE status IN ('pending', 'completed');
COMMENT ON INDEX reservations_live_seat_id_key IS 'The original''s UNIQUE (seat_id), over live reservations only: a seat that was given back can be sold again.';
-- The foreign keys', and: a user's reservations by time (ids sort by it); how many seats a user has of a concert; what
-- is past its deadline.
CREATE INDEX reservations_seat_id_idx ON reservations (seat_id);
CREATE INDEX reservations_concert_id_idx ON reservations (concert_id);
CREATE INDEX reservations_user_id_id_idx ON reservations (user_id, id);
CREATE INDEX reservations_live_user_id_concert_id_idx ON reservations (user_id, concert_id)
    WHERE status IN ('pending', 'completed');
CREATE INDEX reservations_pending_payment_deadline_idx ON reservations (payment_deadline) WHERE status = 'pending';

CREATE TABLE payments (
    id             UUID          CONSTRAINT payments_pkey PRIMARY KEY,
    reservation_id UUID          NOT NULL CONSTRAINT payments_reservation_id_fkey REFERENCES reservations (id),
    user_id        UUID          NOT NULL CONSTRAINT payments_user_id_fkey REFERENCES users (id),
    amount         DECIMAL(10,2) NOT NULL CONSTRAINT payments_amount_check CHECK (amount >= 0),
    payment_status VARCHAR(20)   NOT NULL DEFAULT 'pending'
        CONSTRAINT payments_payment_status_check CHECK (payment_status IN ('pending', 'success', 'failed')),
    payment_method VARCHAR(50)   NOT NULL,
    created_at     TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at     TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX payments_success_reservation_id_key ON payments (reservation_id) WHERE payment_status = 'success';
COMMENT ON INDEX payments_success_reservation_id_key IS 'Added: a reservation is paid for at most once.';
CREATE INDEX payments_reservation_id_idx ON payments (reservation_id);
CREATE INDEX payments_user_id_id_idx ON payments (user_id, id);

CREATE TRIGGER users_set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER concerts_set_updated_at BEFORE UPDATE ON concerts FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER seats_set_updated_at BEFORE UPDATE ON seats FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER queue_set_updated_at BEFORE UPDATE ON queue FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER reservations_set_updated_at BEFORE UPDATE ON reservations FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER payments_set_updated_at BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION set_updated_at();
