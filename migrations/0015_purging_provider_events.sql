-- What purges old messages of providers locks their rows first, which PostgreSQL lets only those do who may update some
-- column. Without this core-api's role could not purge any, and the table grew without end.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT UPDATE (received_at) ON provider_events TO app;
    END IF;
END $$;
