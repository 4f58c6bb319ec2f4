{{/* Whether a component gets a secret: "yes" or nothing. */}}
{{- define "postroad.gets" -}}
{{- if or (has .component .secret.components) (and (eq .component "gateway") (eq .root.Values.mode "combined") (has "forwarder" .secret.components)) -}}
yes
{{- end -}}
{{- end -}}
