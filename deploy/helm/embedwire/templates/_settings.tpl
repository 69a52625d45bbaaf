{{/* What the chart derives from the values of several settings. */}}

{{/* Seconds of a duration, such as 30s, 1h30m or 2.5, rounded up. */}}
{{- define "embedwire.seconds" -}}
{{- $total := 0.0 }}
{{- $text := toString . }}
{{- range regexFindAll "[0-9.]+(ms|s|m|h|d)?" $text -1 }}
{{- $unit := regexFind "[a-z]+$" . | default "s" }}
{{- $total = addf $total (mulf (trimSuffix $unit . | float64) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit)) }}
{{- end }}
{{- ceil $total | int64 }}
{{- end }}

{{/* The server's own bound of a shutdown: delay, grace period and 6 s; the kubelet kills the process after this. */}}
{{- define "embedwire.terminationGracePeriod" -}}
{{- $delay := include "embedwire.seconds" .Values.shutdown.delay | int64 }}
{{- $grace := include "embedwire.seconds" .Values.shutdown.gracePeriod | int64 }}
{{- add $delay $grace (int64 .Values.shutdown.marginSeconds) }}
{{- end }}

{{- define "embedwire.apiKeySecret" -}}
{{- with .Values.apiKey }}
{{- .existingSecret | default (ternary (printf "%s-api-key" (include "embedwire.fullname" $)) "" (ne .value "")) }}
{{- end }}
{{- end }}

{{- define "embedwire.hasOwnConfig" -}}
{{- if not (or .Values.existingConfig.configMap .Values.existingConfig.secret) }}true{{ end }}
{{- end }}

{{/* The file as a volume: an existing object, a Secret if it has tokens, else a ConfigMap. */}}
{{- define "embedwire.configVolume" -}}
{{- with .Values.existingConfig }}
{{- if .secret -}}
secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}
{{- else if .configMap -}}
configMap: {name: {{ .configMap | quote }}}
{{- else if include "embedwire.hasTokens" $ -}}
secret: {secretName: {{ include "embedwire.fullname" $ }}-config, defaultMode: 0440}
{{- else -}}
configMap: {name: {{ include "embedwire.fullname" $ }}-config}
{{- end }}
{{- end }}
{{- end }}

{{- define "embedwire.upstreamUrl" -}}
{{- with .Values.config }}{{ with .upstream }}{{ .url | default "" }}{{ end }}{{ end }}
{{- end }}

{{- define "embedwire.hasTokens" -}}
{{- with .Values.config }}{{ with .tokens }}true{{ end }}{{ end }}
{{- end }}

{{/* Port of the upstream; empty for the sandbox, which is in the process. */}}
{{- define "embedwire.upstreamPort" -}}
{{- $url := include "embedwire.upstreamUrl" . }}
{{- if ne $url "sandbox" }}
{{- $default := hasPrefix "http://" $url | ternary "80" "443" }}
{{- regexFind ":[0-9]+(/|$)" $url | trimAll ":/" | default $default }}
{{- end }}
{{- end }}
