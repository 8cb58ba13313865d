{{- define "mediamesh.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Labels that never change: selectors are made of them. */}}
{{- define "mediamesh.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mediamesh.labels" -}}
{{ include "mediamesh.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "mediamesh.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "mediamesh.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "mediamesh.fullname" .) }}
{{- end -}}

{{/* Whom a service calls: docs/architecture.md. All of them ask media whose API key it is, and hear of
changes in the cache. */}}
{{- define "mediamesh.callees" -}}
edge: [cache, embedding, media, search]
media: [cache, embedding, search]
search: [cache, embedding, media]
embedding: [cache, media]
cache: [media]
worker: [embedding, search]
{{- end -}}

{{/* Every component of this release. */}}
{{- define "mediamesh.components" -}}
{{- if and .Values.worker.enabled (or (empty .Values.database.secret) .Values.persistence.enabled) -}}
{{- fail "worker.enabled wants database.secret, a bucket for the files ([storage] in config) and persistence.enabled=false: workers share no volume with media" -}}
{{- end -}}
{{- $bucket := or (regexMatch "(?s)\\[storage\\].*bucket *=" .Values.config) (contains "MEDIAMESH_STORAGE__BUCKET" (toJson .Values.env)) -}}
{{- if and (not .Values.persistence.enabled) (or (empty .Values.database.secret) (not $bucket)) -}}
{{- fail "persistence.enabled=false wants database.secret, and a bucket for the files: [storage] with bucket in config, or MEDIAMESH_STORAGE__BUCKET in env" -}}
{{- end -}}
{{ ternary "[cache, embedding, search, media, worker, edge]" "[cache, embedding, search, media, edge]" .Values.worker.enabled }}
{{- end -}}

{{/* Services that have a part of the data folder. */}}
{{- define "mediamesh.stateful" -}}
{{- if not .Values.persistence.enabled -}}
[]
{{- else -}}
{{ ternary "[media]" "[media, search]" (not (empty .Values.database.secret)) }}
{{- end -}}
{{- end -}}

{{/* Services that run as often as one likes and may lose a pod. */}}
{{- define "mediamesh.elastic" -}}
{{- $all := list "edge" "embedding" -}}
{{- if .Values.database.secret }}{{ $all = append $all "search" }}{{ end -}}
{{- if not .Values.persistence.enabled }}{{ $all = append $all "media" }}{{ end -}}
{{- if .Values.worker.enabled }}{{ $all = append $all "worker" }}{{ end -}}
{{ toYaml $all }}
{{- end -}}

{{/* Where everything is stored that is no file. */}}
{{- define "mediamesh.database" -}}
{{- with .Values.database.secret }}
- name: MEDIAMESH_DATABASE__URL
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.database.key }}}
{{- with $.Values.database.replicaKey }}
- name: MEDIAMESH_DATABASE__REPLICA_URL
  valueFrom:
    secretKeyRef: {name: {{ $.Values.database.secret }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Bytes of a quantity such as 512Mi or 2Gi. */}}
{{- define "mediamesh.bytes" -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $quantity := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $quantity -}}
{{- if not (hasKey $units $unit) -}}{{ fail (printf "%s is no quantity of memory that this chart reads" $quantity) }}{{- end -}}
{{- mulf (float64 (trimSuffix $unit $quantity)) (get $units $unit) | int64 -}}
{{- end -}}

{{/* Variables of every process. */}}
{{- define "mediamesh.env" -}}
{{- $name := include "mediamesh.fullname" . -}}
{{- range $service := list "cache" "embedding" "media" "search" }}
- name: MEDIAMESH_MESH__ENDPOINTS__{{ upper $service }}
  value: '["dns:///{{ $name }}-{{ $service }}.{{ $.Release.Namespace }}.svc:50051"]'
{{- end }}
- name: MEDIAMESH_IDENTITY__SIGNING_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ required "signingKeys.secret must name a Secret" .Values.signingKeys.secret }}
      key: {{ .Values.signingKeys.key }}
{{- include "mediamesh.database" . }}
{{- with .Values.redis.urls }}
- name: MEDIAMESH_CACHE__REDIS__URLS
  value: '[{{ range $index, $url := . }}{{ if $index }}, {{ end }}{{ $url | quote }}{{ end }}]'
- name: MEDIAMESH_CACHE__REDIS__CLUSTER
  value: {{ $.Values.redis.cluster | quote }}
{{- with $.Values.redis.secret }}
- name: MEDIAMESH_CACHE__REDIS__PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.redis.key }}}
{{- end }}
{{- end }}
{{- with .Values.sessionsRedis.urls }}
- name: MEDIAMESH_CACHE__SESSIONS__REDIS__URLS
  value: '[{{ range $index, $url := . }}{{ if $index }}, {{ end }}{{ $url | quote }}{{ end }}]'
- name: MEDIAMESH_CACHE__SESSIONS__REDIS__CLUSTER
  value: {{ $.Values.sessionsRedis.cluster | quote }}
{{- with $.Values.sessionsRedis.secret }}
- name: MEDIAMESH_CACHE__SESSIONS__REDIS__PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.sessionsRedis.key }}}
{{- end }}
{{- end }}
{{- with .Values.monitoring.token.secret }}
- name: METRICS_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.monitoring.token.key }}}
- name: MEDIAMESH_ADMIN__TOKENS
  # as Kubernetes puts the one above into this
  value: "['$(METRICS_TOKEN)']"
{{- end }}
{{- if .Values.config }}
- name: MEDIAMESH_CONFIG
  value: /etc/mediamesh/mediamesh.toml
{{- end }}
- name: MEDIAMESH_TELEMETRY__LOG_FILTER
  value: {{ .Values.telemetry.logFilter | quote }}
{{- with .Values.telemetry.otlpEndpoint }}
- name: MEDIAMESH_TELEMETRY__OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: MEDIAMESH_TELEMETRY__SAMPLE_RATIO
  value: {{ .Values.telemetry.sampleRatio | float64 | printf "%.4f" | quote }}
{{- if .Values.tls.secret }}
- name: MEDIAMESH_MESH__TLS__CA
  value: /etc/mediamesh-tls/ca.crt
- name: MEDIAMESH_MESH__TLS__CERT
  value: /etc/mediamesh-tls/tls.crt
- name: MEDIAMESH_MESH__TLS__KEY
  value: /etc/mediamesh-tls/tls.key
{{- end }}
{{- if .Values.ca.secret }}
{{- range $server := .Values.ca.servers }}
- name: {{ get (dict "database" "MEDIAMESH_DATABASE__TLS_CA" "redis" "MEDIAMESH_CACHE__REDIS__CA_FILE" "sessionsRedis" "MEDIAMESH_CACHE__SESSIONS__REDIS__CA_FILE" "storage" "MEDIAMESH_STORAGE__TLS_CA") $server }}
  value: /etc/mediamesh-ca/ca.pem
{{- end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every process reads beside its data folder. */}}
{{- define "mediamesh.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.config }}
- {name: config, mountPath: /etc/mediamesh, readOnly: true}
{{- end }}
{{- if .Values.tls.secret }}
- {name: tls, mountPath: /etc/mediamesh-tls, readOnly: true}
{{- end }}
{{- if .Values.ca.secret }}
- {name: ca, mountPath: /etc/mediamesh-ca, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of these; config = name of the ConfigMap. */}}
{{- define "mediamesh.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if .Values.config }}
- name: config
  configMap: {name: {{ .config }}}
{{- end }}
{{- with .Values.tls.secret }}
- name: tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.ca.secret }}
- name: ca
  secret:
    secretName: {{ . }}
    items: [{key: {{ $.Values.ca.key }}, path: ca.pem}]
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mediamesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "mediamesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A probe: the kubelet speaks gRPC, but not TLS with a certificate of its own. */}}
{{- define "mediamesh.probe" -}}
{{- if .tls -}}
httpGet: {path: {{ .path }}, port: http}
{{- else -}}
grpc: {port: 50051}
{{- end -}}
{{- end -}}
