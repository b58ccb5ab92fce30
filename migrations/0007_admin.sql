-- Administrators: concerts that are not announced yet, seats that are held back, and who changed what.

ALTER TABLE concerts ADD COLUMN announced_at TIMESTAMP;
COMMENT ON COLUMN concerts.announced_at IS 'Added: before it only administrators see the concert. NULL: everybody always did.';

-- A status and no column of its own: whatever takes a seat takes one that is `available`, so nothing can forget to ask.
ALTER TABLE seats
    DROP CONSTRAINT seats_status_check,
    ADD CONSTRAINT seats_status_check
        CHECK (status IN ('available', 'reserved_temp', 'reserved_final', 'held_back'));
COMMENT ON COLUMN seats.status IS 'Added to the original''s: held_back, kept out of the sale by an administrator.';

CREATE TABLE admin_changes (
    id         BIGSERIAL   CONSTRAINT admin_changes_pkey PRIMARY KEY,
    concert_id UUID        NOT NULL CONSTRAINT admin_changes_concert_id_fkey REFERENCES concerts (id),
    changed_at TIMESTAMP   NOT NULL DEFAULT now_utc(),
    changed_by UUID        NOT NULL CONSTRAINT admin_changes_changed_by_fkey REFERENCES users (id),
    action     VARCHAR(20) NOT NULL,
    before     JSONB,
    after      JSONB
);
COMMENT ON TABLE admin_changes IS 'What administrators did to concerts and seats: who, when, before and after. Never changed or removed.';
CREATE INDEX admin_changes_concert_id_id_idx ON admin_changes (concert_id, id);
CREATE INDEX admin_changes_changed_by_idx ON admin_changes (changed_by);

CREATE FUNCTION admin_changes_refuse_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'what administrators did is never changed or removed'
        USING ERRCODE = 'restrict_violation', TABLE = 'admin_changes', CONSTRAINT = 'admin_changes_append_only';
END $$;
CREATE TRIGGER admin_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_changes
    FOR EACH STATEMENT EXECUTE FUNCTION admin_changes_refuse_change();

-- core-api only adds to it, where the database was made with its role, as docker/postgres does.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON admin_changes TO app;
        REVOKE UPDATE, DELETE, TRUNCATE ON admin_changes FROM app;
        GRANT USAGE ON SEQUENCE admin_changes_id_seq TO app;
    END IF;
END $$;
