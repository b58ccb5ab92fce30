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
