#!/usr/bin/env bash
# Builds a corpus of real photographs from Debian packages; needs no root and installs nothing.
#
#   scripts/corpus.sh DIR [COUNT]
#
# Fills DIR/<package>/ with up to COUNT (500) photographs, distinct by content, in the order of
# scripts/corpus.list, and writes DIR.manifest (sha256, path, package, version, path in the package).
# When the packages hold fewer than COUNT, the largest photographs are cut into quarters that do not
# overlap (DIR/tiles/), each marked `tile` in the manifest. A corpus that is complete is left alone.
# Packages are kept unpacked in CORPUS_CACHE (.cache/packages).
set -euo pipefail

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 64; }
[ $# -ge 1 ] && [ $# -le 2 ] || usage
root="$(cd "$(dirname "$0")/.." && pwd)"
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
count="${2:-500}"
[[ "$count" =~ ^[1-9][0-9]*$ ]] || usage
cache="${CORPUS_CACHE:-$root/.cache/packages}"
manifest="$dir.manifest"

for tool in apt-get apt-cache dpkg-deb sha256sum; do
  command -v "$tool" >/dev/null || {
    echo "corpus: $tool is missing: this script takes its photographs from Debian packages." >&2
    echo "corpus: on another system put photographs into a folder and set MEDIAMESH_TEST_CORPUS to it." >&2
    exit 69
  }
done
if [ -f "$manifest" ] && [ "$(wc -l <"$manifest")" -ge "$count" ] &&
  (cd "$dir" && sha256sum --quiet --check <(cut -f1,2 --output-delimiter='  ' "$manifest")) >/dev/null 2>&1; then
  echo "corpus: $(wc -l <"$manifest") photographs in $dir"
  exit 0
fi

# Fresh machines have no package lists, and only root may write the system's: keep our own.
private_lists() {
  echo "corpus: fetching package lists" >&2
  local apt="$cache/apt"
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  printf '%s\n' "Dir::State \"$apt/state\";" "Dir::State::status \"$apt/status\";" \
    "Dir::Cache \"$apt/cache\";" "APT::Sandbox::User \"\";" \
    "#clear APT::Update::Post-Invoke;" "#clear DPkg::Post-Invoke;" >"$apt/apt.conf"
  export APT_CONFIG="$apt/apt.conf"
  apt-get -qq update >&2
}

# Prints the folder of an unpacked package.
unpack() {
  local package="$1" into="$cache/$1"
  [ ! -f "$cache/apt/apt.conf" ] || export APT_CONFIG="$cache/apt/apt.conf"
  if [ ! -f "$into/.version" ]; then
    rm -rf "$into.new" && mkdir -p "$into.new/deb"
    (
      cd "$into.new/deb"
      apt-get -qq download "$package" >&2 2>/dev/null || { private_lists; apt-get -qq download "$package" >&2; }
    )
    dpkg-deb -x "$into.new/deb/"*.deb "$into.new"
    dpkg-deb -f "$into.new/deb/"*.deb Version >"$into.new/.version"
    rm -rf "$into.new/deb" "$into"
    mv "$into.new" "$into"
  fi
  printf '%s' "$into"
}

# Whether a PNG is at least 400 pixels wide and high, by its header; other files pass.
large_enough() {
  case "$1" in *.png) ;; *) return 0 ;; esac
  local width height
  read -r width height < <(od -An -tu4 --endian=big -j16 -N8 "$1")
  [ "$width" -ge 400 ] && [ "$height" -ge 400 ]
}

mkdir -p "$cache"
rm -rf "$dir.new" && mkdir -p "$dir.new"
: >"$manifest.new"
declare -A seen
total=0
while read -r package glob; do
  case "$package" in '' | '#'*) continue ;; esac
  [ "$total" -lt "$count" ] || break
  [ -f "$cache/$package/.version" ] || echo "corpus: fetching $package" >&2
  source="$(unpack "$package")"
  while IFS= read -r file; do
    [ -f "$file" ] && [ ! -L "$file" ] && [ "$total" -lt "$count" ] && large_enough "$file" || continue
    hash="$(sha256sum <"$file" | cut -c1-64)"
    [ -z "${seen[$hash]:-}" ] || continue
    seen[$hash]=1
    name="$(basename "$file")"
    # wallpapers are named by their size in a folder named by their theme
    case "$file" in */contents/images/*) name="$(basename "${file%/contents/*}").${file##*.}" ;; esac
    mkdir -p "$dir.new/$package"
    cp "$file" "$dir.new/$package/$name"
    printf '%s\t%s\t%s\t%s\t%s\n' "$hash" "$package/$name" "$package" "$(cat "$source/.version")" \
      "${file#"$source"/}" >>"$manifest.new"
    total=$((total + 1))
  done < <(compgen -G "$source/$glob" || true)
done < <(grep -v '^#' "$root/scripts/corpus.list")

if [ "$total" -lt "$count" ]; then
  echo "corpus: $total photographs; cutting $((count - total)) tiles from the largest" >&2
  (cd "$root" && cargo run --quiet --package mediamesh-testkit --bin corpus -- \
    tiles "$dir.new" "$((count - total))") | while IFS=$'\t' read -r tile original; do
    printf '%s\t%s\ttile\t-\t%s\n' "$(sha256sum <"$dir.new/$tile" | cut -c1-64)" "$tile" "$original" >>"$manifest.new"
  done
fi
rm -rf "$dir"
mv "$dir.new" "$dir"
mv "$manifest.new" "$manifest"
echo "corpus: $(wc -l <"$manifest") photographs in $dir ($(grep -c $'\ttile\t' "$manifest" || true) of them tiles)"
