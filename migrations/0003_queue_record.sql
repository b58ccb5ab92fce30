-- The record of the waiting rooms, written behind by the gateways: who is where, what happened, how rooms are run.
-- Redis runs the rooms; from these tables they are put together again after Redis has lost its memory.

ALTER TABLE queue
    ADD COLUMN epoch           BIGINT      NOT NULL DEFAULT 0,
    ADD COLUMN status          VARCHAR(20) NOT NULL DEFAULT 'waiting'
        CONSTRAINT queue_status_check CHECK (status IN
            ('waiting', 'entered', 'offered', 'away', 'admitted', 'expired', 'left', 'removed', 'paid')),
    ADD COLUMN admission       INT CONSTRAINT queue_admission_check CHECK (admission BETWEEN 0 AND 1023),
    ADD COLUMN admitted_at     TIMESTAMP,
    ADD COLUMN lease_ends_at   TIMESTAMP,
    ADD COLUMN session_ends_at TIMESTAMP,
    ADD COLUMN recorded_ms     BIGINT      NOT NULL DEFAULT 0,
    ADD COLUMN recorded_seq    BIGINT      NOT NULL DEFAULT 0;
COMMENT ON COLUMN queue.token IS 'SHA-256 in hex of the first token given for the place, a pass once admitted: the token itself would be as good as the place.';
COMMENT ON COLUMN queue.wait_time IS 'The wait that was told at joining, in words.';
COMMENT ON COLUMN queue.epoch IS 'Added: which life of the room the row is from.';
COMMENT ON COLUMN queue.status IS 'Added: where the person is. entered: takes part in a draw, queue_position is the entry; offered: may claim a turn; away: missed it.';
COMMENT ON COLUMN queue.admission IS 'Added: tells this admission from others of the same position, as in the pass.';
COMMENT ON COLUMN queue.session_ends_at IS 'Added: until when use may renew the lease.';
COMMENT ON COLUMN queue.recorded_ms IS 'Added, with recorded_seq: the event that the row is from; an earlier one never overwrites it.';

CREATE TABLE queue_events (
    concert_id     UUID        NOT NULL,
    stream_ms      BIGINT      NOT NULL,
    stream_seq     BIGINT      NOT NULL,
    number         INT         NOT NULL,
    happened_at    TIMESTAMP   NOT NULL,
    event          VARCHAR(20) NOT NULL,
    user_id        UUID,
    queue_position INT,
    detail         VARCHAR(100),
    CONSTRAINT queue_events_pkey PRIMARY KEY (concert_id, stream_ms, stream_seq, number)
);
COMMENT ON TABLE queue_events IS 'Everything that happened in the rooms. Keyed by the place in the stream, so that recording a batch twice changes nothing. No foreign keys: a room can stand before a site that has its users and concerts elsewhere.';
CREATE INDEX queue_events_visitor_idx ON queue_events (concert_id, user_id, stream_ms, stream_seq, number)
    WHERE user_id IS NOT NULL;
CREATE INDEX queue_events_happened_at_idx ON queue_events (happened_at);

CREATE TABLE queue_settings (
    concert_id    UUID      CONSTRAINT queue_settings_pkey PRIMARY KEY,
    version       INT       NOT NULL CONSTRAINT queue_settings_version_check CHECK (version > 0),
    settings      JSONB     NOT NULL,
    drawn_entries INT,
    created_at    TIMESTAMP NOT NULL DEFAULT now_utc(),
    updated_at    TIMESTAMP NOT NULL DEFAULT now_utc()
);
COMMENT ON TABLE queue_settings IS 'How rooms are run whose settings somebody has changed; the others go by the gateways'' own.';
COMMENT ON COLUMN queue_settings.drawn_entries IS 'How many numbers took part in the draw, once it is made.';
CREATE TRIGGER queue_settings_set_updated_at BEFORE UPDATE ON queue_settings
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE queue_changes (
    id         BIGSERIAL   CONSTRAINT queue_changes_pkey PRIMARY KEY,
    concert_id UUID        NOT NULL,
    changed_at TIMESTAMP   NOT NULL DEFAULT now_utc(),
    changed_by UUID        NOT NULL,
    action     VARCHAR(20) NOT NULL,
    before     JSONB,
    after      JSONB
);
COMMENT ON TABLE queue_changes IS 'What operators did to rooms: who, when, before and after. Never changed or removed.';
CREATE INDEX queue_changes_concert_id_id_idx ON queue_changes (concert_id, id);

CREATE FUNCTION queue_changes_refuse_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'what operators did is never changed or removed'
        USING ERRCODE = 'restrict_violation', TABLE = 'queue_changes', CONSTRAINT = 'queue_changes_append_only';
END $$;
CREATE TRIGGER queue_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON queue_changes
    FOR EACH STATEMENT EXECUTE FUNCTION queue_changes_refuse_change();
