{{/* The configuration file: values as TOML. `toToml` would write 256 as 256.0. */}}

{{/* A value. Numbers of values files are floating-point numbers; integers are written without a fraction. */}}
{{- define "embedwire.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- $pairs := list }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $pairs = append $pairs (printf "%s = %s" (include "embedwire.toml.key" $key) (include "embedwire.toml.value" $value)) }}
{{- end }}
{{- end }} {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list }}
{{- range . }}{{- $items = append $items (include "embedwire.toml.value" .) }}{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else -}}
{{ toJson . }}
{{- end }}
{{- end }}

{{- define "embedwire.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{/* Lines `group.key = value`, from a dict with `values` and `prefix`. */}}
{{- define "embedwire.toml.lines" -}}
{{- range $key, $value := .values }}
{{- if kindIs "map" $value }}
{{- include "embedwire.toml.lines" (dict "values" $value "prefix" (printf "%s%s." $.prefix $key)) }}
{{- else if not (kindIs "invalid" $value) }}
{{ $.prefix }}{{ $key }} = {{ include "embedwire.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* Tables `[[name]]`, from a dict with `rows` and `name`. */}}
{{- define "embedwire.toml.tables" -}}
{{- range .rows }}

[[{{ $.name }}]]
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ include "embedwire.toml.key" $key }} = {{ include "embedwire.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "embedwire.toml" -}}
# Written by the chart from its value "config".
{{- with .Values.config }}
{{- include "embedwire.toml.lines" (dict "values" (omit . "tokens" "models") "prefix" "") }}
{{- include "embedwire.toml.tables" (dict "rows" .models "name" "models") }}
{{- include "embedwire.toml.tables" (dict "rows" .tokens "name" "tokens") }}
{{- end }}
{{- end }}

{{/* What needs new pods if it changes: the lines of settings that are not reloaded, and whether there are tokens. */}}
{{- define "embedwire.restart" -}}
{{- $reloaded := .Files.Lines "files/reloaded-settings.txt" }}
{{- $values := omit (default dict .Values.config) "tokens" "models" }}
{{- range splitList "\n" (include "embedwire.toml.lines" (dict "values" $values "prefix" "")) }}
{{- if not (has (first (splitList " = " .)) $reloaded) }}
{{ . }}
{{- end }}
{{- end }}
tokens: {{ include "embedwire.hasTokens" . }}
{{- end }}
