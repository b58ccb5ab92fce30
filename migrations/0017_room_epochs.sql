-- What a room's next epoch begins from after Redis lost its state: one small row per room instead of a search through everybody who
-- ever waited; and the indexes by which a rebuild reads them, the front first.

CREATE TABLE queue_rooms (
    concert_id UUID      CONSTRAINT queue_rooms_pkey PRIMARY KEY,
    epoch      BIGINT    NOT NULL,
    version    BIGINT    NOT NULL,
    position   INT       NOT NULL,
    updated_at TIMESTAMP NOT NULL DEFAULT now_utc()
);
COMMENT ON TABLE queue_rooms IS 'How far each room has come. Gateways claim a room''s next epoch here by compare-and-set, so that it is opened once. No foreign key: a room can stand before a site that has its concerts elsewhere.';
COMMENT ON COLUMN queue_rooms.epoch IS 'The latest epoch that a gateway has claimed or recorded.';
COMMENT ON COLUMN queue_rooms.version IS 'The room''s version in that epoch as of the last batch of events that is recorded.';
COMMENT ON COLUMN queue_rooms.position IS 'The highest position that is recorded, of any epoch.';
CREATE TRIGGER queue_rooms_set_updated_at BEFORE UPDATE ON queue_rooms FOR EACH ROW EXECUTE FUNCTION set_updated_at();

INSERT INTO queue_rooms (concert_id, epoch, version, position)
SELECT concert_id, max(epoch), 0, max(queue_position) FROM queue GROUP BY concert_id;

CREATE INDEX queue_live_idx ON queue (concert_id, queue_position, user_id)
    WHERE status IN ('waiting', 'entered', 'offered', 'away', 'admitted');
CREATE INDEX queue_inside_idx ON queue (concert_id) WHERE status = 'admitted';

CREATE OR REPLACE FUNCTION grant_queue_record(role_name NAME) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- A default may have given it more than it needs.
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', role_name);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', role_name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role_name);
    -- Only whether there is such a user or concert.
    EXECUTE format('GRANT SELECT (id) ON users, concerts TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON queue, queue_rooms, queue_settings TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON queue_events TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT ON queue_changes TO %I', role_name);
    EXECUTE format('GRANT USAGE ON SEQUENCE queue_changes_id_seq TO %I', role_name);
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway') THEN
        PERFORM grant_queue_record('gateway');
    END IF;
END $$;
