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
pids=""
cleanup() {
  for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT
unset MEDIAMESH_TEST_CORPUS
# what is for the tests is no setting of mediamesh
mediamesh=(env -u MEDIAMESH_CHROMIUM -u MEDIAMESH_TEST_REQUIRE -u MEDIAMESH_SCREENSHOTS "$binary")
# NAME [OPTION...]: a mediamesh of its own
start() {
  local name="$1"
  shift
  "${mediamesh[@]}" up --data-dir "$scratch/$name" \
    --listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0 --ready-file "$scratch/$name.json" "$@" \
    >"$scratch/$name.log" 2>&1 </dev/null &
  pid=$!
  pids="$pids $pid"
}
fail() { echo "$*; logs of mediamesh:" >&2; tail -n 50 "$scratch"/*.log >&2; exit 1; }
# NAME: where it serves, once it does
url() {
  for _ in $(seq 600); do
    [ ! -s "$scratch/$1.json" ] || break
    sleep 0.1
  done
  [ -s "$scratch/$1.json" ] || fail "mediamesh does not serve after 60 s"
  node -p '"http://" + JSON.parse(require("fs").readFileSync(process.argv[1])).http' "$scratch/$1.json"
}

start data --import "$photos"
# one that asks for keys
MEDIAMESH_GUARDED_KEY="$("${mediamesh[@]}" keys create browser --scope admin --offline --json --data-dir "$scratch/guarded" \
  | node -p 'JSON.parse(require("fs").readFileSync(0)).secret')"
MEDIAMESH_IDENTITY__REQUIRED=true start guarded
MEDIAMESH_URL="$(url data)"
MEDIAMESH_GUARDED_URL="$(url guarded)"

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
export MEDIAMESH_URL MEDIAMESH_GUARDED_URL MEDIAMESH_GUARDED_KEY
npm test --silent --prefix "$tests" || { tail -n 20 "$scratch"/*.log >&2; exit 1; }
