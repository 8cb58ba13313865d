#!/usr/bin/env bash
# Gets BullMQ, which the bench of jobs runs beside this queue, into .cache/bullmq: nothing is installed
# elsewhere. Needs Node.js 20 or newer and npm.
#
#   scripts/bullmq.sh        gets it if it is not there, and prints the folder
#   scripts/bullmq.sh path   prints the folder, gets nothing; fails if it is not there
set -euo pipefail
cd "$(dirname "$0")/.."
# ioredis is its driver, which it asks for without bringing it
readonly DIR="$PWD/.cache/bullmq" VERSION=6.7.0 IOREDIS=5.11.1

say() { echo "bullmq: $*" >&2; }
fail() { say "$*"; exit 69; }

there() { [ "$(cat "$DIR/version" 2>/dev/null)" = "$VERSION $IOREDIS" ]; }

if [ "${1:-}" != path ] && ! there; then
  command -v node >/dev/null && command -v npm >/dev/null ||
    fail "node or npm is missing; get Node.js 20 or newer (https://nodejs.org, Debian: nodejs npm)"
  mkdir -p "$DIR"
  say "fetching bullmq $VERSION"
  npm install --silent --no-audit --no-fund --prefix "$DIR" "bullmq@$VERSION" "ioredis@$IOREDIS" >&2 ||
    fail "npm cannot get bullmq $VERSION"
  # written last: an interrupted install is done again
  echo "$VERSION $IOREDIS" >"$DIR/version"
fi
there || fail "bullmq is not there; scripts/bullmq.sh gets it"
echo "$DIR"
