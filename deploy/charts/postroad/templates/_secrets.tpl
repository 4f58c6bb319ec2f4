{{/* Whether a component gets a secret: "yes" or nothing. */}}
{{- define "postroad.gets" -}}
{{- if or (has .component .secret.components) (and (eq .component "gateway") (eq .root.Values.mode "combined") (has "forwarder" .secret.components)) -}}
yes
{{- end -}}
{{- end -}}

{{/*
Whether a component has a workload identity: "yes" or nothing. It does where it
goes to the hub by tokens of one, or gets secrets of the key vault.
*/}}
{{- define "postroad.identity" -}}
{{- $who := . -}}
{{- if .root.Values.workloadIdentity.enabled -}}
{{- $needs := "" -}}
{{- if include "postroad.hub" . -}}
{{- $c := include (printf "postroad.config.%s" (ternary "stream" "stamp" (eq .component "stream"))) .root | fromYaml -}}
{{- if dig "hub" "sasl" "oauth" "assertion_file" "" $c }}{{ $needs = "yes" }}{{ end -}}
{{- end -}}
{{- range $name, $s := .root.Values.secrets -}}
{{- if and $s.keyVault (include "postroad.gets" (dict "root" $who.root "component" $who.component "secret" $s)) }}{{ $needs = "yes" }}{{ end -}}
{{- end -}}
{{- $needs -}}
{{- end -}}
{{- end -}}

{{/* The client id of a component's identity. */}}
{{- define "postroad.client" -}}
{{- $w := .root.Values.workloadIdentity -}}
{{- required (printf "workloadIdentity.clientId: needed, or workloadIdentity.clientIds.%s, for what %s asks" .component .component) (get $w.clientIds .component | default $w.clientId) -}}
{{- end -}}
