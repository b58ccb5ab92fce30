-- Tickets at the door. A ticket is a completed reservation and nothing besides it: no row of its own that could say
-- something else. What is kept is who let it in, and when.

ALTER TABLE users
    DROP CONSTRAINT users_role_check,
    ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'staff', 'admin'));

CREATE TABLE check_ins (
    id             BIGSERIAL CONSTRAINT check_ins_pkey PRIMARY KEY,
    reservation_id UUID      NOT NULL CONSTRAINT check_ins_reservation_id_fkey REFERENCES reservations (id),
    checked_in_at  TIMESTAMP NOT NULL DEFAULT now_utc(),
    checked_in_by  UUID      NOT NULL CONSTRAINT check_ins_checked_in_by_fkey REFERENCES users (id),
    undone_at      TIMESTAMP,
    undone_by      UUID      CONSTRAINT check_ins_undone_by_fkey REFERENCES users (id),
    CONSTRAINT check_ins_undone_check CHECK ((undone_at IS NULL) = (undone_by IS NULL))
);
COMMENT ON TABLE check_ins IS 'Who was let in, by whom, when. A row stays for good: one that was a mistake is marked as undone.';
-- What lets a ticket in at most once, whatever scanners and processes do at the same time.
CREATE UNIQUE INDEX check_ins_standing_reservation_id_key ON check_ins (reservation_id) WHERE undone_at IS NULL;
COMMENT ON INDEX check_ins_standing_reservation_id_key IS 'A ticket lets in once.';
-- The foreign keys'.
CREATE INDEX check_ins_reservation_id_id_idx ON check_ins (reservation_id, id);
CREATE INDEX check_ins_checked_in_by_idx ON check_ins (checked_in_by);
CREATE INDEX check_ins_undone_by_idx ON check_ins (undone_by) WHERE undone_by IS NOT NULL;

CREATE FUNCTION check_ins_refuse_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.undone_at IS NULL AND NEW.undone_at IS NOT NULL
            AND (NEW.id, NEW.reservation_id, NEW.checked_in_at, NEW.checked_in_by)
              = (OLD.id, OLD.reservation_id, OLD.checked_in_at, OLD.checked_in_by) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'check-ins are never changed or removed, only undone, once'
        USING ERRCODE = 'restrict_violation', TABLE = 'check_ins', CONSTRAINT = 'check_ins_append_only';
END $$;
CREATE TRIGGER check_ins_append_only BEFORE UPDATE OR DELETE ON check_ins
    FOR EACH ROW EXECUTE FUNCTION check_ins_refuse_change();
CREATE TRIGGER check_ins_no_truncate BEFORE TRUNCATE ON check_ins
    FOR EACH STATEMENT EXECUTE FUNCTION check_ins_refuse_change();

-- The tickets of a concert are read page by page; the longer index serves whatever the shorter one did.
CREATE INDEX reservations_concert_id_id_idx ON reservations (concert_id, id);
DROP INDEX reservations_concert_id_idx;
