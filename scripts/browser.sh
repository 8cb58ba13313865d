#!/usr/bin/env bash
# Runs the console's tests in real Chromium.
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
if [ -f "$tests/package-lock.json" ] && [ ! -d "$tests/node_modules" ]; then
  npm ci --silent --no-audit --no-fund --prefix "$tests" >&2
fi
[ "${1:-}" != setup ] || exit 0

for name in chromium chromium-browser google-chrome; do
  export CHROMIUM="${CHROMIUM:-$(command -v "$name" || true)}"
done
cargo build --workspace --quiet --bins
export MEDIAMESH_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/mediamesh"
export MEDIAMESH_TEST_CORPUS="${MEDIAMESH_TEST_CORPUS:-$PWD/.cache/corpus-small}"
npm test --silent --prefix "$tests"
