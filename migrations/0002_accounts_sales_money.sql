-- What the original model lacks, beside it: credentials, roles, sale opening, the ledger, idempotency keys.

ALTER TABLE users ADD COLUMN role VARCHAR(20) NOT NULL DEFAULT 'user'
    CONSTRAINT users_role_check CHECK (role IN ('user', 'admin'));
COMMENT ON COLUMN users.role IS 'Added: what the account may do.';

ALTER TABLE concerts
    ADD COLUMN sale_opens_at TIMESTAMP,
    ADD COLUMN sale_closed_at TIMESTAMP;
COMMENT ON COLUMN concerts.sale_opens_at IS 'Added: before it nothing is sold. NULL: the sale was always open.';
COMMENT ON COLUMN concerts.sale_closed_at IS 'Added: from it on nothing is sold. NULL: sold until the day of the concert.';

CREATE TABLE credentials (
    user_id       UUID         CONSTRAINT credentials_pkey PRIMARY KEY
                               CONSTRAINT credentials_user_id_fkey REFERENCES users (id),
    password_hash VARCHAR(255) NOT NULL,
    created_at    TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at    TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE credentials IS 'Apart from users, so that reading a user never reads a hash.';
COMMENT ON COLUMN credentials.password_hash IS 'A PHC string, argon2id: it names its own parameters, so that they can be raised later.';
CREATE TRIGGER credentials_set_updated_at BEFORE UPDATE ON credentials FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- Double entry. A transfer is two or more entries that sum to zero: money comes from somewhere and goes somewhere.
--   charge   cash -x, user +x        payment  user -x, sales +x        refund  sales -x, user +x
-- `cash` and `sales` have no row that is updated: their balances are sums over their entries.
CREATE TABLE ledger_entries (
    id             BIGSERIAL     CONSTRAINT ledger_entries_pkey PRIMARY KEY,
    transfer_id    UUID          NOT NULL,
    account        VARCHAR(20)   NOT NULL
        CONSTRAINT ledger_entries_account_check CHECK (account IN ('user', 'cash', 'sales')),
    user_id        UUID          CONSTRAINT ledger_entries_user_id_fkey REFERENCES users (id),
    amount         DECIMAL(12,2) NOT NULL CONSTRAINT ledger_entries_amount_check CHECK (amount <> 0),
    kind           VARCHAR(20)   NOT NULL
        CONSTRAINT ledger_entries_kind_check CHECK (kind IN ('charge', 'payment', 'refund')),
    reservation_id UUID          CONSTRAINT ledger_entries_reservation_id_fkey REFERENCES reservations (id),
    created_at     TIMESTAMP     NOT NULL DEFAULT now_utc(),
    CONSTRAINT ledger_entries_user_id_check CHECK ((account = 'user') = (user_id IS NOT NULL)),
    CONSTRAINT ledger_entries_reservation_id_check CHECK ((kind = 'charge') = (reservation_id IS NULL))
);
COMMENT ON COLUMN ledger_entries.amount IS 'Positive: into the account. Negative: out of it.';
CREATE INDEX ledger_entries_transfer_id_idx ON ledger_entries (transfer_id);
CREATE INDEX ledger_entries_user_id_id_idx ON ledger_entries (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX ledger_entries_reservation_id_idx ON ledger_entries (reservation_id) WHERE reservation_id IS NOT NULL;

CREATE FUNCTION ledger_entries_refuse_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are never changed or removed: write a new transfer'
        USING ERRCODE = 'restrict_violation', TABLE = 'ledger_entries', CONSTRAINT = 'ledger_entries_append_only';
END $$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_entries_refuse_change();

CREATE FUNCTION ledger_entries_check_transfer() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
DECLARE
    total DECIMAL;
BEGIN
    SELECT sum(amount) INTO total FROM ledger_entries WHERE transfer_id = NEW.transfer_id;
    IF total <> 0 THEN
        RAISE EXCEPTION 'the entries of transfer % sum to %, not to zero', NEW.transfer_id, total
            USING ERRCODE = 'check_violation', TABLE = 'ledger_entries', CONSTRAINT = 'ledger_entries_transfer_balances';
    END IF;
    RETURN NULL;
END $$;
-- Deferred: a transfer is whole at the end of its transaction.
CREATE CONSTRAINT TRIGGER ledger_entries_transfer_balances AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entries_check_transfer();

CREATE TABLE idempotency_keys (
    user_id         UUID         NOT NULL CONSTRAINT idempotency_keys_user_id_fkey REFERENCES users (id),
    key             VARCHAR(255) NOT NULL CONSTRAINT idempotency_keys_key_check CHECK (key ~ '^[!-~]+$'),
    fingerprint     BYTEA        NOT NULL
        CONSTRAINT idempotency_keys_fingerprint_check CHECK (octet_length(fingerprint) = 32),
    attempt         UUID         NOT NULL,
    state           VARCHAR(20)  NOT NULL
        CONSTRAINT idempotency_keys_state_check CHECK (state IN ('in_progress', 'done')),
    response_status SMALLINT,
    response_body   BYTEA,
    locked_until    TIMESTAMP    NOT NULL,
    expires_at      TIMESTAMP    NOT NULL,
    created_at      TIMESTAMP    NOT NULL DEFAULT now_utc(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_response_check
        CHECK ((state = 'done') = (response_status IS NOT NULL AND response_body IS NOT NULL))
);
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'SHA-256 of method, path and canonical JSON body: tells whether two requests are the same.';
COMMENT ON COLUMN idempotency_keys.attempt IS 'Which try owns the key. An effect commits only where its own attempt still does.';
COMMENT ON COLUMN idempotency_keys.locked_until IS 'While in progress: from then on the process is taken for dead and another try may take over.';
COMMENT ON COLUMN idempotency_keys.response_body IS 'The answer byte for byte.';
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);
