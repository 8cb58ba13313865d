#!/usr/bin/env bash
# Checks the tools of the build and fetches what is missing where it may.
#
#   scripts/tools.sh build     Rust, C and C++ compiler, cmake, nasm
#   scripts/tools.sh browser   Chromium
#   scripts/tools.sh buf       buf from npm, into .cache
#   scripts/tools.sh go        Go 1.25 or newer, for Jaeger and the checks of the deployment
#   scripts/tools.sh deny      cargo-deny from crates.io, into .cache (slow: it is compiled)
#   scripts/tools.sh all       build, browser, buf
#
# Debian packages are installed by root, or by sudo if it asks for no password. Else this says what is
# missing and how to get it.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly BUF_VERSION=1.75.0 DENY_VERSION=0.20.2
export DEBIAN_FRONTEND=noninteractive

say() { echo "tools: $*" >&2; }
fail() { say "$*"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1; }

# apt COMMAND...: apt-get with the rights to install, or status 1.
apt() {
  if [ "$(id -u)" -eq 0 ]; then
    apt-get "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n env DEBIAN_FRONTEND=noninteractive apt-get "$@"
  else
    return 1
  fi
}

# install WHAT PACKAGE...: installs Debian packages, or fails naming them.
install() {
  local what="$1"
  shift
  local hint="install it with your package manager (Debian: sudo apt-get install $*)"
  have apt-get || fail "$what is missing; $hint"
  say "$what is missing; installing $*"
  # lists may be absent or stale on a fresh machine
  apt -qq update >&2 && apt -qq install -y --no-install-recommends "$@" >&2 ||
    fail "$what is missing and cannot be installed from here; $hint"
}

build() {
  have cargo || fail "Rust is missing; get it from https://rustup.rs or your package manager (1.95 or newer)"
  cargo --version >/dev/null || fail "cargo does not start; rust-toolchain.toml names the version that is needed"
  local missing=()
  have cc || missing+=(gcc libc6-dev)
  have c++ || missing+=(g++)
  have cmake || missing+=(cmake)
  have make || missing+=(make)
  have nasm || missing+=(nasm)
  [ ${#missing[@]} -eq 0 ] || install "a build tool" "${missing[@]}"
}

browser() {
  have node && have npm || fail "node or npm is missing; get Node.js 20 or newer (https://nodejs.org, Debian: nodejs npm)"
  have chromium || have chromium-browser || have google-chrome ||
    install "a browser for the console's tests" chromium fonts-dejavu-core
}

golang() {
  local hint="get it from https://go.dev/dl or your package manager"
  have go || fail "Go is missing: Jaeger and the checks of compose, chart, alert rules and dashboards want 1.25 or newer; $hint"
  go version | grep -qE 'go1\.(2[5-9]|[3-9][0-9])' || fail "$(go version) is too old: 1.25 or newer is needed; $hint"
}

buf() {
  [ "$(.cache/npm/node_modules/.bin/buf --version 2>/dev/null)" = "$BUF_VERSION" ] && return
  have npm || fail "npm is missing; get Node.js 20 or newer (https://nodejs.org, Debian: nodejs npm)"
  say "fetching buf $BUF_VERSION"
  npm install --silent --no-audit --no-fund --prefix .cache/npm "@bufbuild/buf@$BUF_VERSION" >&2
}

deny() {
  [ "$(.cache/cargo/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny $DENY_VERSION" ] && return
  say "building cargo-deny $DENY_VERSION"
  CARGO_TARGET_DIR="$PWD/.cache/deny-target" cargo install --quiet --locked --debug --root .cache/cargo \
    --version "$DENY_VERSION" cargo-deny >&2
}

case "${1:-all}" in
  build | browser | buf | deny) "$1" ;;
  go) golang ;;
  all) build && browser && buf ;;
  *) fail "usage: scripts/tools.sh [build|browser|buf|go|deny|all]" ;;
esac
