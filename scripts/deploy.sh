#!/usr/bin/env bash
# Checks compose/, helm/ and the Dockerfile with the tools that read them in earnest: promtool on rules and
# their tests, compose's own loader, helm, kubeconform, the settings in our own program, a real Prometheus on
# a real mesh for every query of the dashboards, and the image where a container builder runs.
#
#   scripts/deploy.sh            everything (the mesh: target/debug/mediamesh, built if it is not there)
#   scripts/deploy.sh STEP...    rules, compose, chart, dashboards, image
#
# Needs no root. What is fetched and built goes into .cache: scripts/promtool.sh, scripts/helm.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly ADAPTER=helm/mediamesh/files/prometheus-adapter.yaml
readonly MEDIAMESH="${MEDIAMESH_BINARY:-${CARGO_TARGET_DIR:-$PWD/target}/debug/mediamesh}" RULES=helm/mediamesh/files/rules.yaml
# a version that the chart must fit; helm itself would take that of its own library
readonly KUBE_VERSION=1.35.0
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

say() { echo "deploy: $*"; }
fail() { echo "deploy: $*" >&2; exit 1; }

rules() {
  local promtool alert fired=0
  promtool="$(scripts/promtool.sh)/promtool"
  "$promtool" check rules --lint=all --lint-fatal "$RULES" compose/prometheus/limits.yml >"$scratch/out" || { cat "$scratch/out"; return 1; }
  # the key of the edge is there only where a mesh runs
  "$promtool" check config --syntax-only compose/prometheus/prometheus.yml >"$scratch/out" || { cat "$scratch/out"; return 1; }
  (cd compose/prometheus/tests && "$promtool" test rules ./*.yaml) >"$scratch/out" 2>&1 || { cat "$scratch/out"; return 1; }
  for alert in $(sed -n 's/^ *- alert: \([A-Za-z]*\).*/\1/p' "$RULES"); do
    grep -A3 "alertname: $alert\$" compose/prometheus/tests/*.yaml | grep -q 'exp_labels:' ||
      fail "no test fires the alert $alert"
    fired=$((fired + 1))
  done
  say "rules: $fired alerts, each fired by a test; a healthy mesh fires none"
}

# settings WHAT < NAME=VALUE...: our program must know every variable and take its value.
settings() {
  local what="$1"
  shift
  env -i HOME="$scratch" "$@" "$MEDIAMESH" config print >"$scratch/out" 2>&1 ||
    { cat "$scratch/out"; fail "$what has a setting that the program refuses"; }
}

binary() { [ -x "$MEDIAMESH" ] || cargo build --workspace --quiet --bin mediamesh; }

compose() {
  local tools service limit source variables
  tools="$(scripts/helm.sh)"
  # keys that sign, and of the bucket: none is in the file
  ! (cd compose && "$tools/compose-spec" compose.yaml) >"$scratch/out" 2>&1 || fail "compose.yaml starts without compose/.env"
  for service in MEDIAMESH_SIGNING_KEYS S3_SECRET_KEY; do
    grep -q "$service.*docs/deploy.md" "$scratch/out" || { cat "$scratch/out"; fail "compose.yaml does not ask for $service"; }
  done
  cp -R compose "$scratch/compose"
  sed -i -e "s|\${MEDIAMESH_SIGNING_KEYS:?[^}]*}|\"['test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=']\"|" \
    -e 's|${S3_SECRET_KEY:?[^}]*}|secret|' "$scratch/compose/compose.yaml"
  (cd "$scratch/compose" && "$tools/compose-spec" -format json compose.yaml) >"$scratch/compose.json" || fail "compose.yaml is not valid"
  for source in $(sed -n "s|.*\"source\": \"$scratch/\([^\"]*\)\".*|\1|p" "$scratch/compose.json" | sort -u); do
    [ -e "$source" ] || fail "compose.yaml mounts $source, which there is not"
  done
  ! docker compose version >/dev/null 2>&1 || docker compose --file "$scratch/compose/compose.yaml" config --quiet
  for service in cache embedding search media worker edge; do
    limit="$(awk -v s="  $service:" '$0 == s { f = 1 } f && /mem_limit:/ { print $2; exit }' compose/compose.yaml)"
    limit="$(numfmt --from=iec "${limit^^}")"
    grep -B3 "component: $service\$" compose/prometheus/limits.yml | grep -qF "vector($limit)" ||
      fail "prometheus/limits.yml does not say that $service may take $limit bytes"
  done
  binary
  mapfile -t variables < <(sed -n 's/^\(ENV\|   \) \(MEDIAMESH_[A-Z_]*=[^ ]*\).*/\2/p' Dockerfile)
  [ "${#variables[@]}" -ge 5 ] || fail "the Dockerfile's settings were not found"
  for service in cache embedding search media worker edge; do
    python3 scripts/compose_services.py "$scratch/compose.json" "$service" >"$scratch/settings" || fail "the services of compose.yaml"
    mapfile -t -d '' -O "${#variables[@]}" variables <"$scratch/settings"
    settings "$service in compose" "${variables[@]}" MEDIAMESH_CONFIG=compose/mediamesh.toml
  done
  say "compose: valid; each service can run more than once; our program takes its settings"
}

# part FIELD INDENT < one manifest: the lines below the first FIELD that is so far to the right.
part() {
  awk -v field="$1:" -v indent="$2" '{ at = match($0, /[^ ]/) - 1 }
    !on && at == indent && $1 == field { on = 1; next } on && at >= 0 && at <= indent { exit } on' |
    grep -v '^ *#'
}

# migrates VALUES: the pod that migrates before an install must find the same database in the same way as the others.
migrates() {
  local tools made="$scratch/migrates" field
  tools="$(scripts/helm.sh path)"
  mkdir -p "$made"
  "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --values "$1" --show-only templates/migrate.yaml |
    awk -v out="$made" '/^---/ { n++ } { print > (out "/" n ".yaml") }'
  "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --values "$1" --show-only templates/deployment.yaml |
    awk '/^---/ { n++ } n == 1' >"$made/deployment"
  grep -l '^kind: Job' "$made"/*.yaml | xargs cat >"$made/job"
  for field in "env 10" "volumeMounts 10" "volumes 6"; do
    # shellcheck disable=SC2086
    diff <(part $field <"$made/job" | sed 's/mediamesh-migrate}/mediamesh}/') <(part $field <"$made/deployment") ||
      fail "with $1 the pod that migrates has other ${field% *} than the others"
    # shellcheck disable=SC2086
    [ "$(part $field <"$made/job" | wc -l)" -ge 2 ] || fail "with $1 the pod that migrates has no ${field% *}"
  done
  # what it mounts must be there before the release is
  if grep -q 'configMap: {name: test-mediamesh-migrate}' "$made/job"; then
    grep -l '^kind: ConfigMap' "$made"/*.yaml | xargs grep -q 'helm.sh/hook-weight: "-1"' || fail "with $1 the configuration comes after the pod that migrates"
  fi
  rm -r "$made"
}

# autoscalers: S3-2's thresholds, and that each metric is one that the adapter's rules make.
autoscalers() {
  local tools made="$scratch/autoscalers" name expr
  tools="$(scripts/helm.sh path)"
  "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --values scripts/reference/chart-values/workers.yaml \
    --show-only templates/autoscaling.yaml | awk '/^---/ { n++ } { print > ("'"$made"'." n) }'
  # wants SERVICE TEXT...
  wants() {
    local file
    file="$(grep -l "component: $1\$" "$made".*)" || fail "the chart scales no $1"
    shift
    for expr in "$@"; do grep -qF "$expr" "$file" || fail "an autoscaler lacks $expr: $(cat "$file")"; done
  }
  wants edge 'averageUtilization: 70' 'averageValue: "429496729"' mediamesh_response_seconds 'component: edge}' 'value: 500m'
  wants media 'averageUtilization: 70' 'averageValue: "3435973836"' 'component: media}' 'value: 500m'
  wants search 'averageUtilization: 70' 'averageValue: "1717986918"' 'component: search}' 'value: 500m'
  wants worker 'averageUtilization: 80' 'averageValue: "3435973836"' '{name: mediamesh_queue_jobs_waiting}' 'averageValue: "50"' \
    '{name: mediamesh_queue_jobs_active}' 'averageValue: "10"'
  wants embedding 'averageUtilization: 80'
  ! grep -l 'component: embedding$' "$made".* | xargs grep -q 'name: memory' || fail "embedding is scaled by the memory of its model"
  for name in $(sed -n 's/.*name: \(mediamesh_[a-z_]*\).*/\1/p' "$made".* | sort -u); do
    grep -q "name: {as: $name}" "$ADAPTER" || fail "$ADAPTER makes no $name"
  done
  # as rules, which promtool reads
  {
    printf 'groups:\n  - name: adapter\n    rules:\n'
    sed -n "s/.*metricsQuery: '\(.*\)'/\1/p" "$ADAPTER" | sed 's/<<.LabelMatchers>>/component="edge"/' | while read -r expr; do
      printf "      - {record: 'adapter:%d', expr: '%s'}\n" "$((number += 1))" "$expr"
    done
  } >"$scratch/adapter.yaml"
  "$(scripts/promtool.sh)/promtool" check rules "$scratch/adapter.yaml" >"$scratch/out" || { cat "$scratch/out"; return 1; }
  rm "$made".*
}

chart() {
  local tools values number=0 variables resources=0
  tools="$(scripts/helm.sh)"
  "$tools/helm" lint --strict --quiet --kube-version "$KUBE_VERSION" helm/mediamesh || fail "helm lint"
  binary
  for values in scripts/reference/chart-values/*.yaml; do
    number=$((number + 1))
    "$tools/helm" template test helm/mediamesh --namespace media --kube-version "$KUBE_VERSION" \
      --values "$values" >"$scratch/$number.yaml" || fail "helm template with $values"
    "$tools/kubeconform" -strict -schema-location "$tools/schemas/{{.ResourceKind}}{{.KindSuffix}}.json" \
      "$scratch/$number.yaml" || fail "what the chart makes with $values is no Kubernetes"
    resources=$((resources + $(grep -c '^kind: ' "$scratch/$number.yaml")))
    # names and literal values; a reference to a Secret stands for a value of its kind
    mapfile -t variables < <(awk '
      $1 == "-" && $2 == "name:" && $3 ~ /^MEDIAMESH_/ { name = $3; next }
      name != "" && $1 == "value:" { sub(/^ *value: /, ""); gsub(/^["'\'']|["'\'']$/, ""); print name "=" $0 }
      name == "MEDIAMESH_DATABASE__URL" || name == "MEDIAMESH_DATABASE__REPLICA_URL" { print name "=postgres://m:p@db:5432/m" }
      name == "MEDIAMESH_CACHE__REDIS__PASSWORD" || name == "MEDIAMESH_CACHE__SESSIONS__REDIS__PASSWORD" { print name "=secret" }
      name == "MEDIAMESH_IDENTITY__SIGNING_KEYS" { print name "=['\''test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE='\'']" }
      { name = "" }' "$scratch/$number.yaml" | grep -v '^MEDIAMESH_CONFIG=' | sort -u)
    [ "${#variables[@]}" -ge 6 ] || fail "the chart's settings were not found"
    settings "the chart with $values" "${variables[@]}"
    ! grep -q '^database:' "$values" || migrates "$values"
  done
  autoscalers
  # what must be refused, is
  sed 's/^  replicas: 1$/  replica: 1/' "$scratch/1.yaml" >"$scratch/wrong.yaml"
  ! "$tools/kubeconform" -strict -schema-location "$tools/schemas/{{.ResourceKind}}{{.KindSuffix}}.json" \
    "$scratch/wrong.yaml" >/dev/null || fail "kubeconform lets a field pass that there is not"
  ! "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --set edge.replcas=3 >/dev/null 2>&1 ||
    fail "values.schema.json lets a value pass that there is not"
  ! "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --set ca.secret=ca,ca.servers='{databases}' \
    >/dev/null 2>&1 || fail "values.schema.json lets a private authority be that of a server that there is not"
  ! "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --set edge.resources.limits=null >/dev/null 2>&1 ||
    fail "the chart scales by a share of a limit that there is not"
  # the rules as the chart hands them on
  for values in $(grep -l '^kind: PrometheusRule' "$scratch"/[0-9]*.yaml); do
    awk '/^---/ { on = rule = 0 } /^kind: PrometheusRule/ { rule = 1 }
      on { print substr($0, 3) } rule && /^spec:/ { on = 1 }' "$values" >"$scratch/rules.yaml"
    "$(scripts/promtool.sh)/promtool" check rules "$scratch/rules.yaml" >"$scratch/out" || { cat "$scratch/out"; return 1; }
  done
  # workers and media would write to volumes that the other does not see
  ! "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --set worker.enabled=true >/dev/null 2>&1 ||
    fail "the chart makes workers that share no files with media"
  ! "$tools/helm" template test helm/mediamesh --kube-version "$KUBE_VERSION" --set database.secret=db \
    --set persistence.enabled=false >/dev/null 2>&1 || fail "the chart lets files lie where a restart of a pod removes them"
  say "chart: $number sets of values, $resources resources, all valid; our program takes their settings"
}

dashboards() {
  local photos="${MEDIAMESH_TEST_CORPUS:-$PWD/.cache/corpus-small}"
  [ -d "$photos" ] || make --no-print-directory corpus
  binary
  python3 scripts/dashboards.py "$MEDIAMESH" "$(scripts/promtool.sh)/prometheus" "$photos"
}

image() {
  if docker version >/dev/null 2>&1; then
    docker build --quiet --tag mediamesh:dev .
    say "image: built as mediamesh:dev"
  else
    say "SKIPPED: the image is not built, no Docker daemon answers"
  fi
}

[ $# -gt 0 ] || set -- rules compose chart dashboards image
for step in "$@"; do
  case "$step" in
    rules | compose | chart | dashboards | image) "$step" ;;
    *) fail "usage: scripts/deploy.sh [rules|compose|chart|dashboards|image]..." ;;
  esac
done
