#!/usr/bin/env bash
# Builds helm, kubeconform and compose-spec (the loader of `docker compose`) from their Go modules, makes
# JSON schemas of Kubernetes and of the Prometheus operator, and prints the folder that holds them:
# helm, kubeconform and compose-spec in it, the schemas below schemas/.
#
#   scripts/helm.sh          builds what is not there: the first time takes minutes of one core
#   scripts/helm.sh path     prints the folder, builds nothing; fails if something is not there
#
# Go's checksum database vouches for modules that are built; the two that are only read (the descriptions
# of Kubernetes and of the operator) must have the hashes below.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly HELM=v3.20.2 KUBECONFORM=v0.7.0 COMPOSE=v2.16.2
readonly KUBERNETES=v1.35.4 KUBERNETES_SUM='h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM='
readonly OPERATOR=v0.85.0 OPERATOR_SUM='h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s='
readonly DIR="$PWD/.cache/helm"

say() { echo "helm: $*" >&2; }
fail() { say "$*"; exit 69; }

ready() {
  [ -x "$DIR/helm" ] && [ -x "$DIR/kubeconform" ] && [ -x "$DIR/compose-spec" ] &&
    [ "$(cat "$DIR/versions" 2>/dev/null)" = "$HELM $KUBECONFORM $COMPOSE $KUBERNETES $OPERATOR" ]
}

# module NAME VERSION SUM: fetches a module that is only read, prints its folder.
module() {
  local found
  found="$(cd "$DIR" && go mod download -json "$1@$2")" || fail "$1 $2 cannot be fetched from $(go env GOPROXY)"
  grep -qF "\"Sum\": \"$3\"" <<<"$found" || fail "$1 $2 is not what it was: its hash is not $3"
  sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$found"
}

build() {
  command -v go >/dev/null || fail "a Go toolchain is missing (1.25 or newer); get it from https://go.dev/dl or your package manager"
  command -v python3 >/dev/null || fail "python3 is missing"
  mkdir -p "$DIR"
  # A cache of the user's own stays as it is; -modcacherw lets ours be removed again.
  export GOPATH="$DIR/go" GOMODCACHE="$DIR/go/mod" GOCACHE="$DIR/go/build" GOBIN="$DIR" GOTOOLCHAIN=local GOWORK=off
  export GOFLAGS="-p=${HELM_BUILD_JOBS:-1} -modcacherw -buildvcs=false -trimpath" CGO_ENABLED=0
  local source
  say "building helm $HELM, kubeconform $KUBECONFORM and compose-spec $COMPOSE; this takes minutes"
  go install -ldflags='-s -w' "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM"
  go install -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@$HELM"
  GOBIN="$DIR/go/bin" go install -ldflags='-s -w' "github.com/compose-spec/compose-go/v2/cmd@$COMPOSE"
  mv "$DIR/go/bin/cmd" "$DIR/compose-spec"
  say "making schemas of Kubernetes $KUBERNETES and the Prometheus operator $OPERATOR"
  source="$(module k8s.io/kubernetes "$KUBERNETES" "$KUBERNETES_SUM")"
  rm -rf "$DIR/schemas" && mkdir -p "$DIR/schemas"
  python3 scripts/reference/kubernetes_schemas.py "$DIR/schemas" "$source/api/openapi-spec/swagger.json"
  source="$(module github.com/prometheus-operator/prometheus-operator "$OPERATOR" "$OPERATOR_SUM")"
  python3 scripts/reference/kubernetes_schemas.py "$DIR/schemas" \
    "$source/jsonnet/prometheus-operator/servicemonitors-crd.json" \
    "$source/jsonnet/prometheus-operator/prometheusrules-crd.json"
  echo "$HELM $KUBECONFORM $COMPOSE $KUBERNETES $OPERATOR" >"$DIR/versions"
  rm -rf "$DIR/go"
}

case "${1:-build}" in
  path) ready || fail "not built; run scripts/helm.sh" ;;
  build) ready || build ;;
  *) fail "usage: scripts/helm.sh [build|path]" ;;
esac
echo "$DIR"
