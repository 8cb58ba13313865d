#!/usr/bin/env bash
# Builds a real Jaeger (v2, all in one) from its Go module and prints the path of the binary.
#
#   scripts/jaeger.sh          builds it if it is not there: the first time takes minutes of one core
#   scripts/jaeger.sh path     prints the path, builds nothing; fails if it is not there
#
# How: `go install module@version` refuses, because Jaeger's go.mod has a replace line. So the module
# is fetched by the proxy, its hash compared with the one below, and built in a copy of its own, where
# its own go.sum holds the hash of every other module: nothing depends on a checksum database that
# knows all of them. The web pages of Jaeger are a git submodule, which a Go module does not have; it
# then serves a placeholder page, and the query API is whole.
#
# Everything fetched and compiled on the way lies below .cache/jaeger and is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
# Jaeger tags one commit twice: v1.76.0, which the Go proxy serves, is v2.13.0.
readonly MODULE=github.com/jaegertracing/jaeger VERSION=v1.76.0
readonly SUM='h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g='
readonly DIR="$PWD/.cache/jaeger"
readonly BINARY="$DIR/jaeger-$VERSION"

say() { echo "jaeger: $*" >&2; }
fail() { say "$*"; exit 69; }

build() {
  command -v go >/dev/null || fail "a Go toolchain is missing (1.24.6 or newer); get it from https://go.dev/dl or your package manager"
  local source="$DIR/source" found
  mkdir -p "$DIR"
  # A cache of the user's own stays as it is; -modcacherw lets ours be removed again. One package at
  # a time: it must not take the machine from whoever else works on it.
  export GOPATH="$DIR/go" GOMODCACHE="$DIR/go/mod" GOCACHE="$DIR/go/build" GOTOOLCHAIN=local GOWORK=off
  export GOFLAGS="-p=${JAEGER_BUILD_JOBS:-1} -modcacherw -buildvcs=false" CGO_ENABLED=0
  if [ ! -f "$source/.complete" ]; then
    say "fetching $MODULE $VERSION"
    found="$(cd "$DIR" && go mod download -json "$MODULE@$VERSION")" ||
      fail "$MODULE $VERSION cannot be fetched from $(go env GOPROXY)"
    grep -qF "\"Sum\": \"$SUM\"" <<<"$found" || fail "$MODULE $VERSION is not what it was: its hash is not $SUM"
    rm -rf "$source"
    cp -r "$GOMODCACHE/$MODULE@$VERSION" "$source"
    touch "$source/.complete"
  fi
  say "building $MODULE/cmd/jaeger $VERSION; this takes minutes"
  (cd "$source" && go build -trimpath -ldflags='-s -w' -o "$BINARY.part" ./cmd/jaeger) ||
    fail "$MODULE/cmd/jaeger does not build with $(go version)"
  mv "$BINARY.part" "$BINARY"
  rm -rf "$source" "$DIR/go"
}

case "${1:-build}" in
  path) [ -x "$BINARY" ] || fail "not built; run scripts/jaeger.sh" ;;
  build) [ -x "$BINARY" ] || build ;;
  *) fail "usage: scripts/jaeger.sh [build|path]" ;;
esac
echo "$BINARY"
