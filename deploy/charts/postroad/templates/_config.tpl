{{/* The settings of gateways and forwarders, complete but for defaults of the program. */}}
{{- define "postroad.config.stamp" -}}
{{- $v := .Values -}}
{{- $own := dict
  "stamp" (dict "name" (required "stamp.name: a stamp needs a name" $v.stamp.name) "region" $v.stamp.region "zone" $v.stamp.zone)
  "http" (dict "listen" ":8081" "drain_delay" $v.gateway.drain.delay "shutdown_timeout" $v.gateway.drain.timeout)
  "queue" (dict "dir" (printf "%s/queue" (trimSuffix "/" $v.queue.mountPath)))
  "hub" (deepCopy $v.hub)
  "forward" (dict "drain_timeout" $v.forwarder.drain.timeout)
  "admin" (dict "listen" ":9600")
  "log" (dict "format" "json") -}}
{{- mergeOverwrite $own (deepCopy $v.config.stamp) | toYaml -}}
{{- end -}}

{{/* The settings of stream nodes. */}}
{{- define "postroad.config.stream" -}}
{{- $v := .Values -}}
{{- $own := dict
  "http" (dict "listen" ":8800" "drain_delay" $v.stream.drain.delay)
  "stream" (dict
    "drain" (dict "rate" $v.stream.drain.rate "timeout" $v.stream.drain.timeout)
    "publish" (dict "gateways" (list (printf "http://%s-gateway:%v" (include "postroad.fullname" .) $v.gateway.service.port))))
  "hub" (deepCopy $v.hub)
  "admin" (dict "listen" ":9600")
  "log" (dict "format" "json") -}}
{{- $all := mergeOverwrite $own (deepCopy $v.config.stream) -}}
{{- if not $all.stream.topics }}{{ fail "config.stream.stream.topics: stream nodes need topics (or set stream.enabled to false)" }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* The settings of the door: this stamp alone where no origins are named. */}}
{{- define "postroad.config.door" -}}
{{- $v := .Values -}}
{{- $name := include "postroad.fullname" . -}}
{{- $origin := dict "name" $v.stamp.name "url" (printf "http://%s-gateway:%v" $name $v.gateway.service.port) "priority" 1 -}}
{{- if $v.stream.enabled }}{{ $_ := set $origin "stream" (printf "http://%s-stream:%v" $name $v.stream.service.port) }}{{ end -}}
{{- $own := dict
  "http" (dict "listen" ":8080" "drain_delay" $v.door.drain.delay "shutdown_timeout" $v.door.drain.timeout)
  "door" (dict)
  "admin" (dict "listen" ":9600")
  "log" (dict "format" "json") -}}
{{- $said := $v.config.door.door | default dict -}}
{{- if not (or $said.origins $said.groups) }}{{ $_ := set $own.door "origins" (list $origin) }}{{ end -}}
{{- mergeOverwrite $own (deepCopy $v.config.door) | toYaml -}}
{{- end -}}

{{/* Seconds that a pod is given to stop: what its drain can take by its settings, and graceSeconds. (dict "root" $ "component" "gateway") */}}
{{- define "postroad.grace" -}}
{{- $kind := get (dict "gateway" "stamp" "forwarder" "stamp" "stream" "stream" "door" "door") .component -}}
{{- $c := include (printf "postroad.config.%s" $kind) .root | fromYaml -}}
{{- $seconds := int .root.Values.graceSeconds -}}
{{- $delay := include "postroad.seconds" ($c.http.drain_delay | default "0s") | int -}}
{{- $rest := include "postroad.seconds" ($c.http.shutdown_timeout | default "15s") | int -}}
{{- if eq .component "gateway" -}}
{{- $seconds = add $seconds $delay $rest -}}
{{- if eq .root.Values.mode "combined" }}{{ $seconds = add $seconds (include "postroad.seconds" $c.forward.drain_timeout | int) }}{{ end -}}
{{- else if eq .component "forwarder" -}}
{{- $seconds = add $seconds (include "postroad.seconds" $c.forward.drain_timeout | int) -}}
{{- else if eq .component "stream" -}}
{{- $seconds = add $seconds $delay (include "postroad.seconds" $c.stream.drain.timeout | int) $rest -}}
{{- else -}}
{{- $seconds = add $seconds $delay $rest -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
