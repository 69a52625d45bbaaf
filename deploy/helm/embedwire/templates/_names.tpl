{{/* Names and labels. */}}

{{- define "embedwire.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 50 characters: suffixes such as -grafana-dashboard follow, and names of Services have at most 63. */}}
{{- define "embedwire.fullname" -}}
{{- $name := include "embedwire.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "embedwire.selector" -}}
app.kubernetes.io/name: {{ include "embedwire.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end }}

{{/* Labels of an object: the standard ones, then the common ones of the user. */}}
{{- define "embedwire.labels" -}}
{{- include "embedwire.labelsWith" (list . dict) }}
{{- end }}

{{/* The same with labels of the user for this object, from a list of the context and those: each key once, the standard
label if both have one. */}}
{{- define "embedwire.labelsWith" -}}
{{- $standard := include "embedwire.standardLabels" (first .) | fromYaml }}
{{- toYaml (merge $standard (default dict (last .)) (default dict (first .).Values.commonLabels)) }}
{{- end }}

{{- define "embedwire.standardLabels" -}}
{{ include "embedwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: embedwire
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "embedwire.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "embedwire.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "embedwire.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "embedwire.testLabels" -}}
app.kubernetes.io/name: {{ include "embedwire.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: test
{{- end }}
