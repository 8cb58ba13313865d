#!/usr/bin/env bash
# Compares the protos with those that clients may already use: the last tag, else main, else the
# parent commit. With nothing to compare with (first commit, shallow clone) it says so.
set -euo pipefail
cd "$(dirname "$0")/.."
buf="$1"

base=""
for candidate in "$(git describe --tags --abbrev=0 2>/dev/null || true)" origin/main HEAD^; do
  [ -n "$candidate" ] || continue
  commit="$(git rev-parse --verify --quiet "$candidate^{commit}" || true)"
  # only a commit that has protos, and not the one being tested
  if [ -n "$commit" ] && [ "$commit" != "$(git rev-parse HEAD)" ] && git cat-file -e "$commit:buf.yaml" 2>/dev/null; then
    base="$commit"
    break
  fi
done
if [ -z "$base" ]; then
  echo "nothing to compare with: no earlier commit has protos"
  exit 0
fi
echo "comparing with $(git log -1 --format='%h %s' "$base")"
# an export, not a clone: works in shallow clones too
old="$(mktemp -d)"
trap 'rm -rf "$old"' EXIT
git archive "$base" buf.yaml proto third_party | tar -x -C "$old"
"$buf" breaking --against "$old"
