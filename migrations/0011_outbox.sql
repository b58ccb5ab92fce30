-- What happened to reservations, payments and seats, written in the transaction in which it happened and told to those
-- who subscribed. docs/WEBHOOKS.md has the whole of it.

CREATE TABLE webhooks (
    id                     UUID          CONSTRAINT webhooks_pkey PRIMARY KEY,
    url                    VARCHAR(2048) NOT NULL,
    events                 TEXT[]        CONSTRAINT webhooks_events_check CHECK (cardinality(events) > 0),
    sealed_secret          BYTEA         NOT NULL,
    previous_sealed_secret BYTEA,
    previous_until         TIMESTAMP,
    paused_at              TIMESTAMP,
    created_by             UUID          NOT NULL,
    created_at             TIMESTAMP     NOT NULL DEFAULT now_utc(),
    CONSTRAINT webhooks_previous_check CHECK ((previous_sealed_secret IS NULL) = (previous_until IS NULL))
);
COMMENT ON TABLE webhooks IS 'Who is told what happens. Ten at most: each costs every change a row.';
COMMENT ON COLUMN webhooks.events IS 'Which types of events. NULL: all, those of later versions too.';
COMMENT ON COLUMN webhooks.sealed_secret IS 'What deliveries are signed with, encrypted (AES-256-GCM) with a key that the database does not have.';
COMMENT ON COLUMN webhooks.previous_sealed_secret IS 'The secret before it was changed: signs as well until previous_until.';
COMMENT ON COLUMN webhooks.paused_at IS 'Since when nothing is delivered, because the receiver answered 410 Gone. NULL: it is at work.';

CREATE TABLE outbox (
    sequence   BIGSERIAL   CONSTRAINT outbox_pkey PRIMARY KEY,
    id         UUID        NOT NULL DEFAULT gen_random_uuid(),
    type       VARCHAR(50) NOT NULL,
    order_key  UUID        NOT NULL,
    data       JSONB       NOT NULL,
    created_at TIMESTAMP   NOT NULL
);
COMMENT ON TABLE outbox IS 'Events. Who adds a type inserts it here, in the transaction that it tells of; a trigger puts it in line for everybody who wants it.';
COMMENT ON COLUMN outbox.order_key IS 'Events of one key are told in their order: the reservation''s id, or of seats the seat''s.';
CREATE INDEX outbox_created_at_idx ON outbox (created_at);

-- No foreign keys: their check would lock the webhook's row in every transaction that sells something. What belongs to
-- a webhook that is gone is never sent, and is removed with what is old.
CREATE TABLE webhook_deliveries (
    webhook_id      UUID        NOT NULL,
    sequence        BIGINT      NOT NULL,
    order_key       UUID        NOT NULL,
    queued_at       TIMESTAMP   NOT NULL,
    next_attempt_at TIMESTAMP   NOT NULL,
    attempts        INT         NOT NULL DEFAULT 0,
    last_outcome    VARCHAR(20),
    last_status     INT,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (sequence, webhook_id)
);
COMMENT ON TABLE webhook_deliveries IS 'What is still to be delivered: a row goes when its event has arrived, or into webhook_dead_letters.';
COMMENT ON COLUMN webhook_deliveries.queued_at IS 'When the time began after which it is given up.';
COMMENT ON COLUMN webhook_deliveries.next_attempt_at IS 'When it is due. While it is being delivered: when whoever does so is taken for dead.';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'How often it was begun; tells this attempt from a later one, as a fence.';
CREATE INDEX webhook_deliveries_order_idx ON webhook_deliveries (webhook_id, order_key, sequence);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (webhook_id, next_attempt_at);

CREATE TABLE webhook_dead_letters (
    webhook_id   UUID        NOT NULL,
    event_id     UUID        NOT NULL,
    sequence     BIGINT      NOT NULL,
    attempts     INT         NOT NULL,
    last_outcome VARCHAR(20) NOT NULL,
    last_status  INT,
    died_at      TIMESTAMP   NOT NULL DEFAULT now_utc(),
    CONSTRAINT webhook_dead_letters_pkey PRIMARY KEY (webhook_id, event_id)
);
COMMENT ON TABLE webhook_dead_letters IS 'What could not be delivered. Kept for 30 days, and its event with it.';
CREATE INDEX webhook_dead_letters_webhook_id_sequence_idx ON webhook_dead_letters (webhook_id, sequence);
CREATE INDEX webhook_dead_letters_sequence_idx ON webhook_dead_letters (sequence);
CREATE INDEX webhook_dead_letters_died_at_idx ON webhook_dead_letters (died_at);

CREATE TABLE webhook_changes (
    id         BIGSERIAL   CONSTRAINT webhook_changes_pkey PRIMARY KEY,
    webhook_id UUID        NOT NULL,
    changed_at TIMESTAMP   NOT NULL DEFAULT now_utc(),
    changed_by UUID,
    action     VARCHAR(20) NOT NULL,
    before     JSONB,
    after      JSONB
);
COMMENT ON TABLE webhook_changes IS 'What was done to webhooks: who, when, before and after. Never changed or removed.';
COMMENT ON COLUMN webhook_changes.changed_by IS 'The administrator. NULL: core-api itself, which pauses what is gone.';
CREATE INDEX webhook_changes_webhook_id_id_idx ON webhook_changes (webhook_id, id);

CREATE FUNCTION webhook_changes_refuse_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'what was done to webhooks is never changed or removed'
        USING ERRCODE = 'restrict_violation', TABLE = 'webhook_changes', CONSTRAINT = 'webhook_changes_append_only';
END $$;
CREATE TRIGGER webhook_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_changes
    FOR EACH STATEMENT EXECUTE FUNCTION webhook_changes_refuse_change();

-- One statement for all events of a statement, however many.
CREATE FUNCTION outbox_fan_out() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO webhook_deliveries (webhook_id, sequence, order_key, queued_at, next_attempt_at)
    SELECT w.id, o.sequence, o.order_key, o.created_at, o.created_at
    FROM told o JOIN webhooks w ON w.paused_at IS NULL AND (w.events IS NULL OR o.type = ANY (w.events));
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_fan_out AFTER INSERT ON outbox REFERENCING NEW TABLE AS told
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_fan_out();

CREATE FUNCTION json_time(at TIMESTAMP) RETURNS TEXT
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;
COMMENT ON FUNCTION json_time(TIMESTAMP) IS 'A time as the API tells it.';

CREATE FUNCTION reservation_json(r reservations) RETURNS JSONB
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('reservationId', r.id, 'concertId', r.concert_id, 'seatId', r.seat_id, 'userId', r.user_id,
                              'status', r.status, 'amount', r.amount, 'expiresAt', json_time(r.payment_deadline))
$$;
COMMENT ON FUNCTION reservation_json(reservations) IS 'A reservation as events tell it.';

-- Triggers, not parts of the statements that hold, pay and sweep: whatever way a row changes, its event is written, in the
-- same transaction. Each looks first whether anybody is to be told; where nobody is, nothing is written.

CREATE FUNCTION reservations_tell_held() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT 'reservation.held', r.id, reservation_json(r), at
        FROM now_utc() AS at, after_rows AS r WHERE r.status = 'pending' ORDER BY r.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reservations_tell_held AFTER INSERT ON reservations REFERENCING NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION reservations_tell_held();

CREATE FUNCTION reservations_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT change.type, r.id,
               CASE WHEN change.type = 'reservation.released'
                    THEN reservation_json(r) || jsonb_build_object(
                             'reason', CASE WHEN r.payment_deadline <= at THEN 'expired' ELSE 'given_back' END)
                    ELSE reservation_json(r) END,
               at
        FROM now_utc() AS at, after_rows AS r JOIN before_rows AS o ON o.id = r.id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN r.status = 'completed' AND o.status <> 'completed' THEN 'reservation.completed'
            WHEN r.status = 'canceled' AND o.status = 'completed' THEN 'reservation.canceled'
            WHEN r.status = 'canceled' AND o.status <> 'canceled' THEN 'reservation.released'
            WHEN r.status = 'pending' AND r.payment_deadline > o.payment_deadline THEN 'reservation.extended'
        END AS type) AS change
        WHERE change.type IS NOT NULL ORDER BY r.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reservations_tell_change AFTER UPDATE ON reservations
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION reservations_tell_change();

CREATE FUNCTION payment_json(p payments) RETURNS JSONB
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('paymentId', p.id, 'reservationId', p.reservation_id, 'userId', p.user_id,
                              'amount', p.amount, 'paymentMethod', p.payment_method,
                              'status', CASE WHEN p.refunded_at IS NULL THEN p.payment_status ELSE 'refunded' END)
$$;
COMMENT ON FUNCTION payment_json(payments) IS 'A payment as events tell it.';

CREATE FUNCTION payments_tell_made() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT 'payment.succeeded', p.reservation_id, payment_json(p), at
        FROM now_utc() AS at, after_rows AS p WHERE p.payment_status = 'success' ORDER BY p.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER payments_tell_made AFTER INSERT ON payments REFERENCING NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION payments_tell_made();

CREATE FUNCTION payments_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT change.type, p.reservation_id, payment_json(p), at
        FROM now_utc() AS at, after_rows AS p JOIN before_rows AS o ON o.id = p.id
        CROSS JOIN LATERAL (SELECT CASE
            -- What goes through a provider is told by provider_payments_tell_change.
            WHEN p.payment_status = 'success' AND o.payment_status <> 'success' AND p.provider_payment_id IS NULL
                THEN 'payment.succeeded'
            WHEN p.payment_status = 'failed' AND o.payment_status <> 'failed' THEN 'payment.failed'
            WHEN p.refunded_at IS NOT NULL AND o.refunded_at IS NULL THEN 'payment.refunded'
        END AS type) AS change
        WHERE change.type IS NOT NULL ORDER BY p.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER payments_tell_change AFTER UPDATE ON payments
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION payments_tell_change();

-- A payment by card is told as made once the provider has taken the money, not when it was set aside, as GET /payment/{id}
-- says it.
CREATE FUNCTION provider_payments_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT 'payment.succeeded', p.reservation_id, payment_json(p), at
        FROM now_utc() AS at, after_rows AS a JOIN before_rows AS o ON o.id = a.id AND o.state <> a.state
        JOIN payments p ON p.provider_payment_id = a.id AND p.payment_status = 'success'
        WHERE a.state = 'captured' ORDER BY p.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_payments_tell_change AFTER UPDATE ON provider_payments
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION provider_payments_tell_change();

CREATE FUNCTION seats_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT 'seat.' || known.status, s.id,
               jsonb_build_object('seatId', s.id, 'concertId', s.concert_id, 'section', s.section,
                                  'seatNumber', s.seat_number, 'price', s.price, 'status', known.status),
               at
        FROM now_utc() AS at, after_rows AS s JOIN before_rows AS o ON o.id = s.id AND o.status <> s.status
        JOIN (VALUES ('available', 'available'), ('reserved_temp', 'reserved'), ('held_back', 'reserved'),
                     ('reserved_final', 'sold'))
            AS known (kept, status) ON known.kept = s.status
        ORDER BY s.id;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION seats_tell_change() IS 'Tells seats'' statuses in the words of the API. One that is added later is told once it is added here.';
CREATE TRIGGER seats_tell_change AFTER UPDATE ON seats
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION seats_tell_change();
