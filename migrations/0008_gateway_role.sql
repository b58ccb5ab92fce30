-- The gateways write the record of the rooms, and need nothing else of the database: a gateway that is taken over reads no
-- email and no hash, and moves no money.

CREATE FUNCTION grant_queue_record(role_name NAME) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- A default may have given it more than it needs.
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', role_name);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', role_name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role_name);
    -- Only whether there is such a user or concert.
    EXECUTE format('GRANT SELECT (id) ON users, concerts TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON queue, queue_settings TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON queue_events TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT ON queue_changes TO %I', role_name);
    EXECUTE format('GRANT USAGE ON SEQUENCE queue_changes_id_seq TO %I', role_name);
END $$;
COMMENT ON FUNCTION grant_queue_record(NAME) IS 'Gives a role what a gateway needs and takes from it all else. Run by the tables'' owner, again and again if need be.';
REVOKE EXECUTE ON FUNCTION grant_queue_record(NAME) FROM PUBLIC;

-- Where the database was made with the role, as docker/postgres does. Elsewhere: SELECT grant_queue_record('<role>').
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway') THEN
        PERFORM grant_queue_record('gateway');
    END IF;
END $$;
