#!/usr/bin/env bash
# The mock server: answers every endpoint of api-spec.yaml with its examples. See usage() below.
set -euo pipefail

# The newest one that runs on the Node 18 of Debian 12.
readonly PRISM_VERSION=5.14.2
readonly NODE_MAJOR_MIN=18

usage() {
  cat <<'USAGE'
Usage: ./run-mock-server.sh [--help | --install-only]

Serves the examples of api-spec.yaml, until Ctrl-C. The first run installs Prism with npm under target/mock/.

  HOST  address to listen on   (default 127.0.0.1)
  PORT  port to listen on      (default 3005)

  curl -s localhost:3005/concerts
  curl -s -X POST localhost:3005/auth/login -H 'Content-Type: application/json' \
       -d '{"userId":"haneul@example.com","password":"correct horse battery"}'

Which of the documented answers comes is the caller's choice:

  curl -s localhost:3005/balance -H 'Prefer: code=401, example=invalid_session'
  curl -s localhost:3005/queue/status -H 'X-Queue-Token: any' -H 'Prefer: example=admitted'

  --install-only  installs Prism and starts nothing
USAGE
}

fail() {
  printf 'run-mock-server.sh: %s\n' "$*" >&2
  exit 1
}

require_node() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    fail 'Node.js and npm are needed.
  Debian: sudo apt-get install nodejs npm
  macOS:  brew install node'
  fi
  local major
  major=$(node --print 'process.versions.node.split(".")[0]')
  ((major >= NODE_MAJOR_MIN)) || fail "Node.js $NODE_MAJOR_MIN or newer is needed; this is $(node --version)."
}

install_prism() {
  local package=$directory/node_modules/@stoplight/prism-cli/package.json
  if [[ -f $package ]] && grep -q "\"version\": \"$PRISM_VERSION\"" "$package"; then
    return
  fi
  printf 'Installing Prism %s under %s (once) …\n' "$PRISM_VERSION" "$directory" >&2
  # --ignore-scripts: nothing that Prism needs runs at installation.
  npm install --prefix "$directory" --save-exact --ignore-scripts --no-audit --no-fund --loglevel=error \
    "@stoplight/prism-cli@$PRISM_VERSION" >&2 || fail 'npm could not install Prism; its message is above.'
}

# What Prism serves is api-spec.yaml but for two of Prism's own limits:
# - it answers any invalid request with the operation's 422 where there is one; ours is 400;
# - it checks multipleOf with floats, and so refuses an amount like 19.99.
write_description() {
  local new=$directory/api-spec.yaml.$$
  sed -e '/^ *multipleOf: 0\.01$/d' -e '/^ *"422": /d' "$root/api-spec.yaml" >"$new"
  # A mock that already runs reloads the file when it is written: only when it is another.
  if cmp -s "$new" "$directory/api-spec.yaml"; then rm "$new"; else mv "$new" "$directory/api-spec.yaml"; fi
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly root directory=$root/target/mock

case ${1-} in
  '' | --install-only) ;;
  -h | --help) usage; exit ;;
  *) usage >&2; exit 2 ;;
esac

require_node
mkdir -p "$directory"
install_prism
[[ ${1-} != --install-only ]] || exit 0
write_description
# Straight to node, so that signals reach Prism and nothing stands between.
exec node "$directory/node_modules/@stoplight/prism-cli/dist/index.js" mock \
  --host "${HOST:-127.0.0.1}" --port "${PORT:-3005}" "$directory/api-spec.yaml"
