{{/* The name that all objects begin with. */}}
{{- define "postroad.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: (dict "root" $ "component" "gateway"). They never change. */}}
{{- define "postroad.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object that belongs to the whole stamp, or to a component. */}}
{{- define "postroad.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/part-of: postroad
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image without tag and digest. */}}
{{- define "postroad.repository" -}}
{{- $i := .Values.image -}}
{{- if $i.registry }}{{ trimSuffix "/" $i.registry }}/{{ end }}{{ $i.repository -}}
{{- end -}}

{{/* The image: by digest where one is set. */}}
{{- define "postroad.image" -}}
{{- $i := .Values.image -}}
{{- $name := include "postroad.repository" . -}}
{{- if $i.digest -}}
{{ $name }}@{{ $i.digest }}
{{- else -}}
{{ $name }}:{{ $i.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The claim of the queue. */}}
{{- define "postroad.claim" -}}
{{- $s := .Values.queue.storage -}}
{{- if eq $s.kind "claim" -}}
{{ required "queue.storage.existingClaim: needed where queue.storage.kind is claim" $s.existingClaim }}
{{- else -}}
{{ include "postroad.fullname" . }}-{{ $s.name }}
{{- end -}}
{{- end -}}

{{/* Annotations of what neither helm uninstall nor a prune by Flux takes away: messages are in it. */}}
{{- define "postroad.stays" -}}
helm.sh/resource-policy: keep
kustomize.toolkit.fluxcd.io/prune: disabled
{{- end -}}

{{/* The components that run, as YAML: name to command, port of its own traffic and whether it has the queue. */}}
{{- define "postroad.components" -}}
gateway: {command: {{ ternary "stamp" "gateway" (eq .Values.mode "combined") }}, config: stamp, port: 8081, queue: true}
{{- if eq .Values.mode "separate" }}
forwarder: {command: forward, config: stamp, port: 0, queue: true}
{{- end }}
{{- if .Values.stream.enabled }}
stream: {command: stream, config: stream, port: 8800, queue: false}
{{- end }}
{{- if .Values.door.enabled }}
door: {command: door, config: door, port: 8080, queue: false}
{{- end }}
{{- end -}}

{{/* How a component is scaled: none, hpa or keda. */}}
{{- define "postroad.scaler" -}}
{{- if eq .component "forwarder" -}}
{{- get (dict "none" "none" "cpu" "hpa" "backlog" "keda") .root.Values.forwarder.scaling -}}
{{- else -}}
{{- ternary "hpa" "none" (index .root.Values .component).autoscaling.enabled -}}
{{- end -}}
{{- end -}}

{{/* Whole seconds of a duration such as 1m30s, rounded up. */}}
{{- define "postroad.seconds" -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" (toString .) -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = addf $sum (mulf (float64 (trimSuffix $unit .)) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) -}}
{{- end -}}
{{- ceil $sum | int -}}
{{- end -}}
