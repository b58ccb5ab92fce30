#!/usr/bin/env bash
# Runs once, when the database is made: a role for core-api that can read and write rows, and one for the gateways that
# can write the record of the rooms; neither can do anything else. Migrations run as the owner, who grants `app` every
# table it makes, and `gateway` those that it needs (migrations/0008_gateway_role.sql).
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --set app_password="$APP_DB_PASSWORD" \
  --set gateway_password="$GATEWAY_DB_PASSWORD" --set owner="$POSTGRES_USER" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'app_password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app, gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT USAGE, SELECT ON SEQUENCES TO app;
SQL
