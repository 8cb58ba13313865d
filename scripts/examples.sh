#!/usr/bin/env bash
# Runs the example clients of docs/examples against the debug binary, each through the edge's port and
# through that of gRPC alone, and checks what they print.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly CACHE="$PWD/.cache" REQUIREMENTS=docs/examples/python/requirements.txt BUILT="${CARGO_TARGET_DIR:-$PWD/target}/debug"
# the same text to look for in every run
readonly NAME=lighthouse-at-dusk.jpg

say() { echo "examples: $*" >&2; }
fail() { say "$*"; [ ! -s "${scratch:-}/mesh.log" ] || tail -n 40 "$scratch/mesh.log" >&2; exit 1; }

scratch="$(mktemp -d)"
mesh=""
stop() {
  if [ -n "$mesh" ]; then
    kill -9 "$mesh" 2>/dev/null || true
    wait "$mesh" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap stop EXIT

# A virtual environment with what the generated modules need, made again when that changes.
python() {
  local venv="$CACHE/examples-python"
  if ! cmp -s "$REQUIREMENTS" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" || { say "python3 with venv is missing (Debian: python3 python3-venv)"; exit 69; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$REQUIREMENTS" >&2
    cp "$REQUIREMENTS" "$venv/requirements.txt"
  fi
  mkdir -p "$scratch/python"
  (
    cd proto
    find mediamesh -name '*.proto' -print0 |
      xargs -0 "$venv/bin/python" -m grpc_tools.protoc -I . -I ../third_party/proto \
        --python_out="$scratch/python" --grpc_python_out="$scratch/python"
  )
  PYTHON="$venv/bin/python"
}

start() {
  env -u MEDIAMESH_CONFIG "$BUILT/mediamesh" --data-dir "$scratch/data" up --listen 127.0.0.1:0 \
    --grpc-listen 127.0.0.1:0 --ready-file "$scratch/ready.json" >"$scratch/mesh.log" 2>&1 &
  mesh=$!
  for _ in $(seq 600); do
    [ ! -f "$scratch/ready.json" ] || break
    kill -0 "$mesh" 2>/dev/null || fail "mediamesh did not start"
    sleep 0.1
  done
  local text
  text="$(cat "$scratch/ready.json")" || fail "mediamesh was not ready in time"
  HTTP="$(sed -E 's/.*"http":"([^"]+)".*/\1/' <<<"$text")"
  GRPC="$(sed -E 's/.*"grpc":"([^"]+)".*/\1/' <<<"$text")"
}

# Whether an output is that of a client that found its picture all three ways.
whole() {
  local how
  grep -Eq "^stored $NAME as [0-9a-f-]{36}$" "$1" || return 1
  grep -Eq '^processed: [1-9][0-9]* x [1-9][0-9]* pixels$' "$1" || return 1
  grep -Eq '^downloaded: the same bytes$' "$1" || return 1
  for how in words stream image; do
    # the line after the heading is the best hit
    grep -A1 -E "^$how: [1-9][0-9]* hits$" "$1" | grep -q " $NAME$" || return 1
  done
}

# check WHAT COMMAND...: the vectors of a picture may follow its state by a moment; storing it again is
# no change, so the client may simply run again.
check() {
  local what="$1" attempt
  shift
  for attempt in $(seq 30); do
    "$@" >"$scratch/out.txt" 2>"$scratch/err.txt" || fail "$what failed: $(cat "$scratch/err.txt")"
    if whole "$scratch/out.txt"; then
      say "$what: as promised (run $attempt)"
      return
    fi
    sleep 1
  done
  cat "$scratch/out.txt" >&2
  fail "$what did not print what it should"
}

# the tests have built the binary already, with what only tests need: building it again here would
# take it away from them
[ -x "$BUILT/mediamesh" ] || cargo build --workspace --bin mediamesh --quiet
cargo build --workspace --bin mediamesh-example --quiet
picture="$(find "$CACHE/corpus-small" -name '*.jpg' | sort | head -n 1)"
[ -n "$picture" ] || fail "no photographs; run make corpus"
cp "$picture" "$scratch/$NAME"
python
start
check "Rust through the edge" "$BUILT/mediamesh-example" "http://$HTTP" "$scratch/$NAME" lighthouse
check "Rust through the gRPC port" "$BUILT/mediamesh-example" "http://$GRPC" "$scratch/$NAME" lighthouse
export PYTHONPATH="$scratch/python"
check "Python through the edge" "$PYTHON" docs/examples/python/client.py "$HTTP" "$scratch/$NAME" lighthouse
check "Python through the gRPC port" "$PYTHON" docs/examples/python/client.py "$GRPC" "$scratch/$NAME" lighthouse
cat "$scratch/out.txt"
