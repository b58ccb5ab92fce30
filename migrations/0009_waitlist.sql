-- Who waits for seats that come free.

CREATE TABLE waitlist (
    id             BIGSERIAL   CONSTRAINT waitlist_pkey PRIMARY KEY,
    concert_id     UUID        NOT NULL CONSTRAINT waitlist_concert_id_fkey REFERENCES concerts (id),
    user_id        UUID        NOT NULL CONSTRAINT waitlist_user_id_fkey REFERENCES users (id),
    section        VARCHAR(20) CONSTRAINT waitlist_section_check CHECK (section <> ''),
    joined_at      TIMESTAMP   NOT NULL DEFAULT now_utc(),
    left_at        TIMESTAMP,
    reservation_id UUID        CONSTRAINT waitlist_reservation_id_key UNIQUE
                               CONSTRAINT waitlist_reservation_id_fkey REFERENCES reservations (id)
);
COMMENT ON TABLE waitlist IS 'A row is one wait: it ends with an offer, or when its user leaves. Its order is that of id.';
COMMENT ON COLUMN waitlist.section IS 'Only seats of this section. NULL: any.';
COMMENT ON COLUMN waitlist.left_at IS 'When its user left, or declined the offer. NULL: they did not.';
COMMENT ON COLUMN waitlist.reservation_id IS 'The offer: a pending reservation in the user''s name. What became of it is that reservation''s status. NULL: none yet.';
-- Who waits, in order; and one wait at a time.
CREATE INDEX waitlist_waiting_concert_id_id_idx ON waitlist (concert_id, id) WHERE left_at IS NULL AND reservation_id IS NULL;
CREATE UNIQUE INDEX waitlist_waiting_user_id_concert_id_key ON waitlist (user_id, concert_id)
    WHERE left_at IS NULL AND reservation_id IS NULL;
CREATE INDEX waitlist_user_id_concert_id_id_idx ON waitlist (user_id, concert_id, id);

ALTER TABLE seats ADD COLUMN handing_on BOOLEAN NOT NULL DEFAULT FALSE
    CONSTRAINT seats_handing_on_check CHECK (NOT handing_on OR status = 'available');
COMMENT ON COLUMN seats.handing_on IS 'It has come free and somebody waits for it: it is no one else''s until they have it, or nobody takes it.';
CREATE INDEX seats_handing_on_idx ON seats (id) WHERE handing_on;

-- In whichever way a seat comes free, and in the same transaction: whoever dies after that leaves it to be found.
CREATE FUNCTION seats_hand_on() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.handing_on := NEW.status = 'available' AND EXISTS (
        SELECT FROM waitlist w
        WHERE w.concert_id = NEW.concert_id AND w.left_at IS NULL AND w.reservation_id IS NULL
          AND (w.section IS NULL OR w.section = NEW.section));
    RETURN NEW;
END $$;
CREATE TRIGGER seats_hand_on BEFORE UPDATE OF status ON seats
    FOR EACH ROW WHEN (NEW.status <> OLD.status AND (NEW.status = 'available' OR OLD.handing_on))
    EXECUTE FUNCTION seats_hand_on();
