#!/usr/bin/env bash
# Makes .env for docker compose: fresh secrets, readable by you alone. Builds the gateway's image first, since
# that is what makes the keys. An .env that is there already is left as it is.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

if [[ -e .env ]]; then
  printf '.env is there already; remove it first to make new secrets (which ends all sessions).\n' >&2
  exit 1
fi

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

build_args=()
for name in RUST_IMAGE RUNTIME_IMAGE; do
  [[ -z ${!name-} ]] || build_args+=(--build-arg "$name=${!name}")
done
docker build --file docker/Dockerfile --target gateway --tag onsale-gateway ${build_args[@]+"${build_args[@]}"} .
secrets=$(docker run --rm onsale-gateway generate-secrets)

umask 077
{
  printf '%s\n' "$secrets"
  printf 'POSTGRES_PASSWORD=%s\n' "$(password)"
  printf 'APP_DB_PASSWORD=%s\n' "$(password)"
  printf 'GATEWAY_DB_PASSWORD=%s\n' "$(password)"
  printf 'PAYMENT_PROVIDER_KEY=%s\n' "$(password)"
  printf 'PAYMENT_WEBHOOK_SECRETS=%s\n' "$(password)"
} >.env
printf 'Wrote .env. Next: docker compose up --build\n'
