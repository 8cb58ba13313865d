#!/usr/bin/env bash
# Gets Prometheus and promtool from Debian's package, unpacked and not installed, so without root, and
# prints the folder that holds both.
#
#   scripts/promtool.sh          fetches them if they are not there
#   scripts/promtool.sh path     prints the folder, fetches nothing; fails if they are not there
set -euo pipefail
cd "$(dirname "$0")/.."
readonly DIR="$PWD/.cache/prometheus"

say() { echo "promtool: $*" >&2; }
fail() { say "$*"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1; }

fetch() {
  if have promtool && have prometheus; then
    mkdir -p "$DIR/bin"
    ln -sf "$(command -v promtool)" "$(command -v prometheus)" "$DIR/bin/"
    return
  fi
  have apt-get && have dpkg-deb ||
    fail "promtool and prometheus are missing; get them from https://prometheus.io/download and put them on the path"
  say "fetching Debian's prometheus"
  rm -rf "$DIR" && mkdir -p "$DIR/part"
  if ! (cd "$DIR/part" && apt-get -qq download prometheus >&2); then
    # lists may be absent or stale on a fresh machine
    if [ "$(id -u)" -eq 0 ]; then apt-get -qq update >&2; else sudo -n apt-get -qq update >&2; fi &&
      (cd "$DIR/part" && apt-get -qq download prometheus >&2) ||
      fail "the package prometheus cannot be fetched; get it from https://prometheus.io/download and put it on the path"
  fi
  dpkg-deb -x "$DIR"/part/prometheus_*.deb "$DIR/part/root"
  mv "$DIR/part/root/usr/bin" "$DIR/bin"
  rm -rf "$DIR/part"
}

ready() { "$DIR/bin/promtool" --version >/dev/null 2>&1 && [ -x "$DIR/bin/prometheus" ]; }

case "${1:-fetch}" in
  path) ready || fail "not there; run scripts/promtool.sh" ;;
  fetch) ready || fetch; ready || fail "promtool does not start" ;;
  *) fail "usage: scripts/promtool.sh [fetch|path]" ;;
esac
echo "$DIR/bin"
