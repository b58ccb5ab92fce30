-- What an organiser gives the pages of a concert: a colour, a message, a logo. No row: the pages look as they always did.

CREATE TABLE concert_branding (
    concert_id   UUID CONSTRAINT concert_branding_pkey PRIMARY KEY
                      CONSTRAINT concert_branding_concert_id_fkey REFERENCES concerts (id),
    colour       VARCHAR(7) CONSTRAINT concert_branding_colour_check CHECK (colour ~ '^#[0-9a-f]{6}$'),
    message_ko   VARCHAR(200),
    message_en   VARCHAR(200),
    logo         BYTEA CONSTRAINT concert_branding_logo_length_check CHECK (octet_length(logo) BETWEEN 1 AND 3072),
    logo_kind    VARCHAR(10) CONSTRAINT concert_branding_logo_kind_check CHECK (logo_kind IN ('png', 'jpeg', 'webp')),
    logo_width   INTEGER CONSTRAINT concert_branding_logo_width_check CHECK (logo_width BETWEEN 1 AND 1024),
    logo_height  INTEGER CONSTRAINT concert_branding_logo_height_check CHECK (logo_height BETWEEN 1 AND 1024),
    logo_version VARCHAR(16),
    CONSTRAINT concert_branding_message_check CHECK (num_nulls(message_ko, message_en) IN (0, 2)),
    CONSTRAINT concert_branding_logo_check
        CHECK (num_nulls(logo, logo_kind, logo_width, logo_height, logo_version) IN (0, 5))
);
COMMENT ON TABLE concert_branding IS 'What the pages of a concert show of its organiser. All of it is optional.';
COMMENT ON COLUMN concert_branding.logo_version IS 'The beginning of the logo''s SHA-256: part of its address, so that it can be cached for good.';
-- A picture is compressed already.
ALTER TABLE concert_branding ALTER COLUMN logo SET STORAGE EXTERNAL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON concert_branding TO app;
        REVOKE DELETE, TRUNCATE ON concert_branding FROM app;
    END IF;
END $$;
