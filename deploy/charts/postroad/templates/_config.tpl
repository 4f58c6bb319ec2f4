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
{{- $all := mergeOverwrite $own (deepCopy $v.config.stamp) -}}
{{- $reached := or $v.expose (eq $v.gateway.service.type "LoadBalancer") (and $v.door.enabled (eq $v.door.serves "stamp") (eq $v.door.service.type "LoadBalancer")) -}}
{{- if and $reached (not (dig "gateway" "auth" "enabled" false $all)) (not $v.gateway.open) -}}
{{- fail "gateway.open: false, but config.stamp.gateway.auth.enabled is not set: whoever reaches the gateways could send anything to any topic. Set the one, or the other where that is meant" -}}
{{- end -}}
{{- include "postroad.named" (dict "root" . "component" (ternary "gateway" "forwarder" (eq $v.mode "combined")) "hub" $all.hub) -}}
{{- toYaml $all -}}
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
{{- include "postroad.named" (dict "root" . "component" "stream" "hub" $all.hub) -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Puts the client id of a component's workload identity to the settings of the hub, where tokens of one are meant and none is said. */}}
{{- define "postroad.named" -}}
{{- $oauth := dig "sasl" "oauth" dict .hub -}}
{{- if and .root.Values.workloadIdentity.enabled $oauth.assertion_file (not $oauth.client_id) -}}
{{- $_ := set $oauth "client_id" (include "postroad.client" .) -}}
{{- end -}}
{{- end -}}

{{/*
The settings of the door: this stamp alone where no origins are named. It looks its
pods up by name, and so knows of each by itself: behind the address of a Service one
pod that drains would speak for all.
*/}}
{{- define "postroad.config.door" -}}
{{- $v := .Values -}}
{{- $name := include "postroad.fullname" . -}}
{{- $gateway := dict "name" $v.stamp.name "dns" (printf "http://%s-gateway-pods:8081" $name) "priority" 1 -}}
{{- $groups := dict "gateways" (dict "resolve_interval" "2s" "origins" (list $gateway)) -}}
{{- $streams := eq $v.door.serves "streams" -}}
{{- if $streams }}{{ $groups = dict }}{{ end -}}
{{- if $v.stream.enabled -}}
{{- $node := dict "name" $v.stamp.name "dns" (printf "http://%s-stream-pods:8800" $name) "priority" 1 -}}
{{- $_ := set $groups "streams" (dict "resolve_interval" "2s" "affinity" "none" "origins" (list $node)) -}}
{{- end -}}
{{- $own := dict
  "http" (dict "listen" ":8080" "drain_delay" $v.door.drain.delay "shutdown_timeout" $v.door.drain.timeout)
  "door" (dict "drain" (dict "rate" $v.door.drain.rate "timeout" $v.door.drain.streams))
  "admin" (dict "listen" ":9600")
  "log" (dict "format" "json") -}}
{{- $said := $v.config.door.door | default dict -}}
{{- if not (or $said.origins $said.groups) -}}
{{- if and $streams (not $v.stream.enabled) }}{{ fail "door.serves: streams: there are none where stream.enabled is false" }}{{ end -}}
{{- $_ := set $own.door "groups" $groups -}}
{{- if $streams }}{{ $_ := set $own.door "routes" (list (dict "group" "streams" "kind" "stream")) }}{{ end -}}
{{- end -}}
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
{{- $seconds = add $seconds $delay (include "postroad.seconds" $c.door.drain.timeout | int) $rest -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/*
A sum of the settings that need new pods. The door reads its own section again by
itself, and what it knows of certificates and connections.
*/}}
{{- define "postroad.config.sum" -}}
{{- $c := include (printf "postroad.config.%s" .config) .root -}}
{{- if eq .config "door" -}}
{{- $all := fromYaml $c -}}
{{- $_ := set $all "http" (omit $all.http "tls" "clients") -}}
{{- $c = omit $all "door" | toYaml -}}
{{- end -}}
{{- sha256sum $c -}}
{{- end -}}

{{/* The ConfigMap of settings. The door's keeps its name, since it is read again while it runs. */}}
{{- define "postroad.settings" -}}
{{- $name := printf "%s-%s" (include "postroad.fullname" .root) .config -}}
{{- if eq .config "door" }}{{ $name }}{{ else }}{{ $name }}-{{ include (printf "postroad.config.%s" .config) .root | sha256sum | trunc 10 }}{{ end -}}
{{- end -}}

{{/* The port of an address such as host:9093 or https://host; nothing where it is not said. */}}
{{- define "postroad.port" -}}
{{- $said := regexFind ":[0-9]+$" (regexReplaceAll "^([a-z]+://)?([^/]*).*$" . "${2}") -}}
{{- if $said }}{{ trimPrefix ":" $said }}{{ else if hasPrefix "https:" . }}443{{ else if hasPrefix "http:" . }}80{{ end -}}
{{- end -}}

{{/* Whether a component goes to the hub: "yes" or nothing. */}}
{{- define "postroad.hub" -}}
{{- if or (has .component (list "stream" "forwarder")) (and (eq .component "gateway") (eq .root.Values.mode "combined")) }}yes{{ end -}}
{{- end -}}

{{/* Ports that a component has to reach by its settings, as {ports: […]}. */}}
{{- define "postroad.reaches" -}}
{{- $c := include (printf "postroad.config.%s" .config) .root | fromYaml -}}
{{- $ports := list -}}
{{- if include "postroad.hub" . -}}
{{- $hub := $c.hub | default dict -}}
{{- $to := $hub.brokers | default list -}}
{{- if eq (toString $hub.dialect) "postroad" }}{{ $to = list (dig "relay" "url" "" $hub) }}{{ end -}}
{{- if $hub.proxy }}{{ $to = list $hub.proxy }}{{ end -}}
{{- with dig "sasl" "oauth" "token_url" "" $hub }}{{ $to = append $to . }}{{ end -}}
{{- range $to -}}
{{- $port := include "postroad.port" . -}}
{{- if and (not $port) (eq (toString $hub.dialect) "eventhubs") }}{{ $port = "9093" }}{{ end -}}
{{- if $port }}{{ $ports = append $ports $port }}{{ end -}}
{{- end -}}
{{- else if eq .component "door" -}}
{{- $origins := $c.door.origins | default list -}}
{{- range $name, $g := $c.door.groups }}{{ $origins = concat $origins ($g.origins | default list) }}{{ end -}}
{{- range $origins -}}
{{- range concat (list (.url | default "") (.dns | default "") (.stream | default "")) (.urls | default list) -}}
{{- with include "postroad.port" . }}{{ $ports = append $ports . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "ports" (uniq $ports) | toYaml -}}
{{- end -}}
