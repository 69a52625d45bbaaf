{{/* Combinations of values with which the server would not start, or would start with access that was not chosen. */}}

{{- define "embedwire.checks" -}}
{{- $values := .Values }}
{{- $hasKey := include "embedwire.apiKeySecret" . }}
{{- $url := include "embedwire.upstreamUrl" . }}
{{- if and $values.apiKey.existingSecret $values.apiKey.value }}
{{- fail "apiKey: set existingSecret or value, not both" }}
{{- end }}
{{- if and $values.existingConfig.configMap $values.existingConfig.secret }}
{{- fail "existingConfig: set configMap or secret, not both" }}
{{- end }}
{{- if include "embedwire.hasOwnConfig" . }}
{{- if and (not $hasKey) (or (not $url) (hasPrefix "https://api.twelvelabs.io" $url)) }}
{{- fail "no upstream: set apiKey.existingSecret to a Secret with the API key of TwelveLabs, or config.upstream.url to the URL of another upstream, or to \"sandbox\" for a trial" }}
{{- end }}
{{- if not (or $values.tls.existingSecret (include "embedwire.hasTokens" .) $values.allowInsecure) }}
{{- fail "no access control: set tls.existingSecret and config.tokens, one of them at least; or allowInsecure=true if the network policy, a mesh or a proxy decides which clients connect, and encrypts" }}
{{- end }}
{{- $port := include "embedwire.upstreamPort" . }}
{{- if and $values.networkPolicy.enabled $port (not (has $port ($values.networkPolicy.egressPorts | toStrings))) }}
{{- fail (printf "networkPolicy.egressPorts: add %s, the port of config.upstream.url" $port) }}
{{- end }}
{{- if and $values.quotaStore.replicas (not (include "embedwire.hasQuotaStore" .)) }}
{{- fail "quotaStore.replicas: needs quotaStore.existingSecret or config.quota.store: without it, the pods share nothing" }}
{{- end }}
{{- end }}
{{- with $values.quotaStore.replicas | int }}
{{- if lt . (include "embedwire.pods" $ | int) }}
{{- fail (printf "quotaStore.replicas: must be at least %s, the number of pods; 0 derives it" (include "embedwire.pods" $)) }}
{{- end }}
{{- end }}
{{- if include "embedwire.hasQuotaStore" . }}
{{- $replicas := include "embedwire.quotaReplicas" . | int64 }}
{{- range $modality, $limits := dig "rate_limits" dict (default dict $values.config) }}
{{- range $name, $limit := $limits }}
{{- if and (not (kindIs "invalid" $limit)) (lt (int64 $limit) $replicas) }}
{{- fail (printf "config.rate_limits.%s.%s: must be at least %d, the number of pods that share it (quotaStore.replicas): raise it, or use fewer pods" $modality $name $replicas) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- include "embedwire.checkStore" (list "quota" $values.quotaStore (include "embedwire.quotaUrl" .)) }}
{{- include "embedwire.checkStore" (list "cache" $values.cacheStore (include "embedwire.cacheUrl" .)) }}
{{- if and $values.tls.mutual (not $values.tls.existingSecret) }}
{{- fail "tls.mutual: needs tls.existingSecret, with tls.crt, tls.key and ca.crt" }}
{{- end }}
{{- range $values.extraEnv }}
{{- if regexMatch (include "embedwire.ownVariables" $) .name }}
{{- fail (printf "extraEnv: %s is set by the chart, from its own values" .name) }}
{{- end }}
{{- if hasPrefix "EMBEDWIRE_WORKERS" .name }}
{{- fail (printf "extraEnv: %s: a pod has one process; set replicaCount" .name) }}
{{- end }}
{{- end }}
{{- $ports := $values.ports }}
{{- if ne (len (uniq (list (int $ports.grpc) (int $ports.health) (int $ports.metrics)))) 3 }}
{{- fail "ports: grpc, health and metrics must be three different ports" }}
{{- end }}
{{- with $values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail "autoscaling: minReplicas must be at most maxReplicas" }}
{{- end }}
{{- if and .enabled (not (or .inputsInFlight .cpuPercent)) }}
{{- fail "autoscaling: set inputsInFlight or cpuPercent" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Variables that the chart sets. A second entry would win, and disagree with probes, Services and mounts. */}}
{{- define "embedwire.ownVariables" -}}
^(TWELVELABS_API_KEY|EMBEDWIRE_(CONFIG|LISTEN|HEALTH_LISTEN|METRICS_LISTEN|UPLOADS_SPOOL_DIR|SHUTDOWN_DELAY|SHUTDOWN_GRACE_PERIOD|INSECURE|TLS_CERTIFICATE|TLS_KEY|TLS_CLIENT_CA|QUOTA_STORE|QUOTA_REPLICAS|CACHE_STORE))$
{{- end }}
