-- Payments that a provider settles: the attempts, what is left to be told to the provider, and what it told us.

-- One try at taking money through a provider, for one or several reservations. It is written before the provider is asked
-- and so survives whoever dies in between; from here it is always known what has to be asked, and what for.
--   created     the provider was asked to authorise, or is about to be. The hold is kept meanwhile, until decide_until
--   authorised  the money is set aside and the seats are the user's; the provider is still to be told to take it
--   captured    the money is taken                                                                           (an end)
--   declined    nothing was taken and nothing is set aside                                                   (an end)
--   void_due    nothing is to be taken; what may have been set aside is still to be given free
--   voided      that is done                                                                                 (an end)
CREATE TABLE provider_payments (
    id              UUID          CONSTRAINT provider_payments_pkey PRIMARY KEY,
    provider        VARCHAR(50)   NOT NULL,
    user_id         UUID          NOT NULL CONSTRAINT provider_payments_user_id_fkey REFERENCES users (id),
    amount          DECIMAL(12,2) NOT NULL CONSTRAINT provider_payments_amount_check CHECK (amount > 0),
    state           VARCHAR(20)   NOT NULL DEFAULT 'created' CONSTRAINT provider_payments_state_check
        CHECK (state IN ('created', 'authorised', 'captured', 'declined', 'void_due', 'voided')),
    reference       VARCHAR(255),
    idempotency_key VARCHAR(255),
    decide_until    TIMESTAMP     NOT NULL,
    next_look_at    TIMESTAMP,
    looks           INT           NOT NULL DEFAULT 0,
    state_since     TIMESTAMP     NOT NULL DEFAULT now_utc(),
    created_at      TIMESTAMP     NOT NULL DEFAULT now_utc(),
    updated_at      TIMESTAMP     NOT NULL DEFAULT now_utc(),
    -- What is not at its end is always looked at again; what is, never.
    CONSTRAINT provider_payments_next_look_at_check
        CHECK ((state IN ('created', 'authorised', 'void_due')) = (next_look_at IS NOT NULL))
);
COMMENT ON COLUMN provider_payments.id IS 'Names the payment to the provider as well: whoever asks it again under this id changes nothing.';
COMMENT ON COLUMN provider_payments.reference IS 'The provider''s own name of it.';
COMMENT ON COLUMN provider_payments.idempotency_key IS 'The client''s: a repeat whose first try died finds this attempt by it.';
COMMENT ON COLUMN provider_payments.decide_until IS 'Until when the hold waits for the provider; from then on the attempt is given up.';
COMMENT ON COLUMN provider_payments.next_look_at IS 'When the reconciler looks at it. Whoever looks puts it off first, so that no two do.';
CREATE INDEX provider_payments_next_look_at_idx ON provider_payments (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX provider_payments_user_id_idempotency_key_idx ON provider_payments (user_id, idempotency_key);

CREATE FUNCTION provider_payments_only_forward() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('created', 'authorised'), ('created', 'declined'), ('created', 'void_due'),
        ('authorised', 'captured'), ('authorised', 'void_due'), ('void_due', 'voided'))
    THEN
        RAISE EXCEPTION 'a payment does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'restrict_violation', TABLE = 'provider_payments', CONSTRAINT = 'provider_payments_only_forward';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provider_payments_only_forward() IS 'Whatever comes late, twice or out of order: a state is never gone back on.';
CREATE TRIGGER provider_payments_only_forward BEFORE UPDATE ON provider_payments
    FOR EACH ROW EXECUTE FUNCTION provider_payments_only_forward();
CREATE TRIGGER provider_payments_set_updated_at BEFORE UPDATE ON provider_payments
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

ALTER TABLE payments ADD COLUMN provider_payment_id UUID
    CONSTRAINT payments_provider_payment_id_fkey REFERENCES provider_payments (id);
COMMENT ON COLUMN payments.provider_payment_id IS 'Added: the attempt that this payment is part of. NULL: it was paid from the balance.';
CREATE INDEX payments_provider_payment_id_idx ON payments (provider_payment_id) WHERE provider_payment_id IS NOT NULL;
CREATE UNIQUE INDEX payments_pending_reservation_id_key ON payments (reservation_id) WHERE payment_status = 'pending';
COMMENT ON INDEX payments_pending_reservation_id_key IS 'Added: one attempt at a time, so that money is never taken twice.';

ALTER TABLE reservations ADD COLUMN paying_until TIMESTAMP;
COMMENT ON COLUMN reservations.paying_until IS 'Added: until when an attempt under way keeps the hold, whatever its deadline. NULL: none is.';

-- Money that a provider is still to give back. The books have it already: they were written with the end of the reservation.
CREATE TABLE provider_refunds (
    payment_id          UUID          CONSTRAINT provider_refunds_pkey PRIMARY KEY
                                      CONSTRAINT provider_refunds_payment_id_fkey REFERENCES payments (id),
    provider_payment_id UUID          NOT NULL
        CONSTRAINT provider_refunds_provider_payment_id_fkey REFERENCES provider_payments (id),
    amount              DECIMAL(10,2) NOT NULL CONSTRAINT provider_refunds_amount_check CHECK (amount > 0),
    refunded_at         TIMESTAMP,
    next_look_at        TIMESTAMP,
    looks               INT           NOT NULL DEFAULT 0,
    created_at          TIMESTAMP     NOT NULL DEFAULT now_utc(),
    CONSTRAINT provider_refunds_next_look_at_check CHECK ((refunded_at IS NULL) = (next_look_at IS NOT NULL))
);
COMMENT ON TABLE provider_refunds IS 'A row for each payment that is given back; the payment''s id names the refund to the provider, so that a repeat changes nothing.';
COMMENT ON COLUMN provider_refunds.refunded_at IS 'When the provider said that it is done. NULL: it has not yet.';
CREATE INDEX provider_refunds_next_look_at_idx ON provider_refunds (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX provider_refunds_provider_payment_id_idx ON provider_refunds (provider_payment_id);

-- No foreign key: what a provider tells may be of nothing that we know.
CREATE TABLE provider_events (
    provider            VARCHAR(50)  NOT NULL,
    event_id            VARCHAR(255) NOT NULL,
    provider_payment_id UUID         NOT NULL,
    state               VARCHAR(50)  NOT NULL,
    received_at         TIMESTAMP    NOT NULL DEFAULT now_utc(),
    CONSTRAINT provider_events_pkey PRIMARY KEY (provider, event_id)
);
COMMENT ON TABLE provider_events IS 'What providers have told, once each: an event that comes again is known by its id. Kept for a day, which is longer than a signature is believed.';
CREATE INDEX provider_events_received_at_idx ON provider_events (received_at);

-- What providers owe us is a sum over entries, like `cash`:
--   payment  provider -x, sales +x        refund  sales -x, provider +x
ALTER TABLE ledger_entries
    DROP CONSTRAINT ledger_entries_account_check,
    ADD CONSTRAINT ledger_entries_account_check CHECK (account IN ('user', 'cash', 'sales', 'provider'));
CREATE UNIQUE INDEX ledger_entries_provider_refund_reservation_id_key ON ledger_entries (reservation_id)
    WHERE kind = 'refund' AND account = 'provider';
COMMENT ON INDEX ledger_entries_provider_refund_reservation_id_key IS 'As for users: a reservation is refunded at most once.';

-- core-api's role reads and writes these rows like all others, by the owner's default; what is history stays.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON provider_payments, provider_refunds TO app;
        GRANT SELECT, INSERT, DELETE ON provider_events TO app;
        REVOKE DELETE, TRUNCATE ON provider_payments, provider_refunds FROM app;
        REVOKE UPDATE, TRUNCATE ON provider_events FROM app;
        -- What purges old messages locks their rows first, which PostgreSQL lets only those do who may update some column.
        GRANT UPDATE (received_at) ON provider_events TO app;
    END IF;
    -- A default may have given gateways something; they need nothing of this.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway') THEN
        REVOKE ALL ON provider_payments, provider_refunds, provider_events FROM gateway;
    END IF;
END $$;
