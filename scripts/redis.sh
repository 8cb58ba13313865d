#!/usr/bin/env bash
# Gets a real Redis (redis-server and redis-cli, 7 or newer) and prints the folder of the two.
#
#   scripts/redis.sh          gets it if it is not there
#   scripts/redis.sh path     prints the folder, gets nothing; fails if it is not there
#
# A Redis on the PATH is taken as it is. Else the Debian packages and the libraries they need are
# unpacked into .cache/redis: nothing is installed and no rights are asked for. The lists of packages
# are read into .cache/redis as well if the machine has none.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly DIR="$PWD/.cache/redis"
readonly PACKAGES=(redis-server redis-tools libjemalloc2 liblzf1 libatomic1 libssl3 libsystemd0)

say() { echo "redis: $*" >&2; }
fail() { say "$*"; exit 69; }

# The major version of a redis-server, 0 if it does not start.
major() { "$1" --version 2>/dev/null | sed -n 's/.* v=\([0-9]*\)\..*/\1/p' | grep . || echo 0; }

system() {
  command -v redis-server redis-cli >/dev/null 2>&1 || return 1
  local server
  server="$(command -v redis-server)"
  [ "$(major "$server")" -ge 7 ] || { say "$server is older than 7 and is not used"; return 1; }
  mkdir -p "$DIR/bin"
  ln -sf "$server" "$DIR/bin/redis-server"
  ln -sf "$(command -v redis-cli)" "$DIR/bin/redis-cli"
}

# The lists of packages of this machine, in a folder of ours.
private_lists() {
  mkdir -p "$DIR"/apt/{lists/partial,archives/partial}
  : >"$DIR/apt/status"
  apt=(apt-get -o "Dir::State=$DIR/apt" -o "Dir::State::status=$DIR/apt/status"
    -o "Dir::State::lists=$DIR/apt/lists" -o "Dir::Cache=$DIR/apt" -o APT::Sandbox::User=)
  "${apt[@]}" -qq update >&2
}

# Unpacks the packages; each program gets a starter that finds the libraries beside it.
unpack() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail "no Redis on the PATH and no apt-get to get one with; install Redis 7 or newer with your package manager"
  local apt=(apt-get) name
  rm -rf "$DIR"
  mkdir -p "$DIR/deb" "$DIR/bin"
  say "fetching ${PACKAGES[*]}"
  (cd "$DIR/deb" && "${apt[@]}" -qq download "${PACKAGES[@]}" 2>/dev/null) >&2 ||
    { private_lists && (cd "$DIR/deb" && "${apt[@]}" -qq download "${PACKAGES[@]}") >&2; } ||
    fail "the packages cannot be fetched; install Redis 7 or newer (Debian: sudo apt-get install redis-server redis-tools)"
  for name in "$DIR"/deb/*.deb; do dpkg-deb -x "$name" "$DIR/root"; done
  local libraries
  libraries="$(find "$DIR/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)"
  for name in redis-server redis-cli; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "'$libraries'" "'$DIR/root/usr/bin/$name'" >"$DIR/bin/$name"
    chmod 755 "$DIR/bin/$name"
  done
  rm -rf "$DIR/deb" "$DIR/apt"
}

there() { [ "$(major "$DIR/bin/redis-server")" -ge 7 ] && "$DIR/bin/redis-cli" --version >/dev/null 2>&1; }

case "${1:-get}" in
  path) there || fail "not there; run scripts/redis.sh" ;;
  get)
    there || system || unpack
    there || fail "what was unpacked in $DIR does not start"
    ;;
  *) fail "usage: scripts/redis.sh [get|path]" ;;
esac
echo "$DIR/bin"
