#!/usr/bin/env bash
# Runs the console's tests in real Chromium, against the real binary with photographs in it.
#
#   scripts/browser.sh setup   fetches what they need
#   scripts/browser.sh         runs them
#
# Without a browser they are skipped with a message, unless MEDIAMESH_TEST_REQUIRE has `chromium`.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=tests/browser

if ! scripts/tools.sh browser; then
  case ",${MEDIAMESH_TEST_REQUIRE:-}," in *,chromium,*) exit 69 ;; esac
  echo "SKIPPED: the console's tests need Chromium"
  exit 0
fi
# npm writes this file last: an interrupted install is done again
if [ ! -f "$tests/node_modules/.package-lock.json" ]; then
  npm ci --silent --no-audit --no-fund --prefix "$tests" >&2
fi
[ "${1:-}" != setup ] || exit 0

for name in chromium chromium-browser google-chrome; do
  MEDIAMESH_CHROMIUM="${MEDIAMESH_CHROMIUM:-$(command -v "$name" || true)}"
done
export MEDIAMESH_CHROMIUM
# the binary of the tests: other features than those of `cargo build` would build everything again
cargo test --workspace --no-run --quiet
binary="${CARGO_TARGET_DIR:-$PWD/target}/debug/mediamesh"
photos="${MEDIAMESH_TEST_CORPUS:-$PWD/.cache/corpus-small}"
scripts/corpus.sh "$PWD/.cache/corpus-small" 36

scratch="$(mktemp -d)"
pid=""
cleanup() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT
env -u MEDIAMESH_CHROMIUM -u MEDIAMESH_TEST_REQUIRE -u MEDIAMESH_TEST_CORPUS "$binary" up --data-dir "$scratch/data" \
  --listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0 --ready-file "$scratch/ready.json" --import "$photos" \
  >"$scratch/log" 2>&1 </dev/null &
pid=$!

fail() { echo "$*; log of mediamesh:" >&2; tail -50 "$scratch/log" >&2; exit 1; }
for _ in $(seq 600); do
  [ ! -s "$scratch/ready.json" ] || break
  kill -0 "$pid" 2>/dev/null || fail "mediamesh ended before it served"
  sleep 0.1
done
[ -s "$scratch/ready.json" ] || fail "mediamesh does not serve after 60 s"
MEDIAMESH_URL="http://$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).http' "$scratch/ready.json")"
export MEDIAMESH_URL

# the import runs beside the serving: wait until its photographs are stored and processed
wanted="$(find "$photos" -type f | wc -l)"
for _ in $(seq 1200); do
  stored="$(node -e 'fetch(process.argv[1]).then((answer) => answer.json())
    .then((page) => console.log((page.mediaItems ?? []).length), () => console.log(0))' \
    "$MEDIAMESH_URL/v1/mediaItems?pageSize=1000&state=STATE_READY")"
  [ "$stored" -lt "$wanted" ] || break
  sleep 0.5
done
[ "$stored" -ge "$wanted" ] || fail "only $stored of $wanted photographs are ready"
npm test --silent --prefix "$tests" || { tail -20 "$scratch/log" >&2; exit 1; }
