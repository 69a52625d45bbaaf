{{/* Redis: where the pods share the quota and cached results. */}}

{{- define "embedwire.quotaUrl" -}}
{{- if include "embedwire.hasOwnConfig" . }}{{ with .Values.config }}{{ with .quota }}{{ .store | default "" }}{{ end }}{{ end }}{{ end }}
{{- end }}

{{- define "embedwire.cacheUrl" -}}
{{- if include "embedwire.hasOwnConfig" . }}{{ with .Values.config }}{{ with .cache }}{{ .store | default "" }}{{ end }}{{ end }}{{ end }}
{{- end }}

{{/* Whether the chart knows a store of the quota; one of an existing file is unknown. */}}
{{- define "embedwire.hasQuotaStore" -}}
{{- if or .Values.quotaStore.existingSecret (include "embedwire.quotaUrl" .) }}true{{ end }}
{{- end }}

{{/* Most pods that the Deployment or the autoscaler asks for. */}}
{{- define "embedwire.pods" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- end }}

{{/* Pods that a rolling update adds: a number, or a percentage, which Kubernetes rounds up. */}}
{{- define "embedwire.surge" -}}
{{- $strategy := default dict .Values.strategy }}
{{- if eq (default "" $strategy.type) "Recreate" }}0
{{- else }}
{{- $surge := "25%" }}
{{- with $strategy.rollingUpdate }}{{ if hasKey . "maxSurge" }}{{ $surge = toString .maxSurge }}{{ end }}{{ end }}
{{- if hasSuffix "%" $surge }}
{{- divf (mulf (include "embedwire.pods" . | int) (trimSuffix "%" $surge | int)) 100 | ceil | int }}
{{- else }}
{{- $surge }}
{{- end }}
{{- end }}
{{- end }}

{{/* Among how many pods the quota is divided without Redis: all that may run, those of a rolling update included. */}}
{{- define "embedwire.quotaReplicas" -}}
{{- $found := add (include "embedwire.pods" . | int) (include "embedwire.surge" . | trim | int) }}
{{- .Values.quotaStore.replicas | int | default (max 1 $found) }}
{{- end }}

{{/* Ports of Redis for the network policy, as a list in JSON: of the URLs in `config`, and of those in Secrets. */}}
{{- define "embedwire.redisPorts" -}}
{{- $ports := list }}
{{- range list (include "embedwire.quotaUrl" .) (include "embedwire.cacheUrl" .) }}
{{- if regexMatch "^rediss?://" . }}
{{- $ports = append $ports (regexFind ":[0-9]+([/?]|$)" . | trimAll ":/?" | default "6379" | int) }}
{{- end }}
{{- end }}
{{- range list .Values.quotaStore .Values.cacheStore }}
{{- if .existingSecret }}{{ $ports = append $ports (int .port) }}{{ end }}
{{- end }}
{{- uniq $ports | toJson }}
{{- end }}

{{/* Checks of one store, from a list of its name in `config`, its value and its URL in `config`. */}}
{{- define "embedwire.checkStore" -}}
{{- $name := index . 0 }}
{{- $url := index . 2 }}
{{- if and $url (index . 1).existingSecret }}
{{- fail (printf "%sStore.existingSecret and config.%s.store: set one of them, not both" $name $name) }}
{{- end }}
{{- if regexMatch "@|[?&](user|pass)" $url }}
{{- fail (printf "config.%s.store: has credentials, and the file may be in a ConfigMap: put the URL into a Secret, and set %sStore.existingSecret" $name $name) }}
{{- end }}
{{- end }}
