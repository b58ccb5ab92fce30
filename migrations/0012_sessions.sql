-- Sessions: who is signed in where, until when, and how they get new tokens.

CREATE TABLE sessions (
    id            UUID        CONSTRAINT sessions_pkey PRIMARY KEY,
    user_id       UUID        NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users (id),
    family_hash   BYTEA       NOT NULL CONSTRAINT sessions_family_hash_check CHECK (octet_length(family_hash) = 32),
    refresh_hash  BYTEA       NOT NULL CONSTRAINT sessions_refresh_hash_check CHECK (octet_length(refresh_hash) = 32),
    previous_hash BYTEA       CONSTRAINT sessions_previous_hash_check CHECK (octet_length(previous_hash) = 32),
    refreshed_at  TIMESTAMP   NOT NULL DEFAULT now_utc(),
    tokens_until  TIMESTAMP   NOT NULL,
    expires_at    TIMESTAMP   NOT NULL,
    ended_at      TIMESTAMP,
    end_reason    VARCHAR(20) CONSTRAINT sessions_end_reason_check
        CHECK (end_reason IN ('logout', 'limit', 'reuse', 'password', 'role')),
    created_at    TIMESTAMP   NOT NULL DEFAULT now_utc(),
    CONSTRAINT sessions_ended_check CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
COMMENT ON TABLE sessions IS 'A row is one session, from signing in to its end. Removed once none of its tokens is valid any more.';
COMMENT ON COLUMN sessions.family_hash IS 'SHA-256 of the part that all refresh tokens of the session have in common: an old one of ours is told from a forgery by it.';
COMMENT ON COLUMN sessions.refresh_hash IS 'SHA-256 of the refresh token that may be used next.';
COMMENT ON COLUMN sessions.previous_hash IS 'The same of the one before, which is answered the same for a moment. NULL: there is none.';
COMMENT ON COLUMN sessions.refreshed_at IS 'When its newest refresh token was made.';
COMMENT ON COLUMN sessions.tokens_until IS 'When the last of its tokens expires: as long its end has to be remembered.';
COMMENT ON COLUMN sessions.expires_at IS 'When it ends at the latest, however often it is refreshed.';
COMMENT ON COLUMN sessions.ended_at IS 'When it was ended before that. NULL: it was not.';
-- A user's open ones by age; what was ended of late; what can be removed.
CREATE INDEX sessions_open_user_id_created_at_idx ON sessions (user_id, created_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_at_id_idx ON sessions (ended_at, id) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_tokens_until_idx ON sessions (tokens_until) WHERE ended_at IS NOT NULL;
-- The foreign key's.
CREATE INDEX sessions_user_id_idx ON sessions (user_id);

ALTER TABLE credentials ADD COLUMN generation INT NOT NULL DEFAULT 1
    CONSTRAINT credentials_generation_check CHECK (generation > 0);
COMMENT ON COLUMN credentials.generation IS 'Which password of the account it is: a session is opened only where the password that was verified still is the one.';

-- Whoever changes a role, and however: tokens say the old one, so the sessions end.
CREATE FUNCTION end_sessions_of_changed_role() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE sessions SET ended_at = now_utc(), end_reason = 'role' WHERE user_id = NEW.id AND ended_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER users_end_sessions AFTER UPDATE OF role ON users
    FOR EACH ROW WHEN (OLD.role IS DISTINCT FROM NEW.role) EXECUTE FUNCTION end_sessions_of_changed_role();

-- core-api's role, where the database was made with one, as docker/postgres does; elsewhere the owner's defaults decide.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO app;
    END IF;
    -- A gateway asks Redis which sessions have ended.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway') THEN
        REVOKE ALL ON sessions FROM gateway;
    END IF;
END $$;
