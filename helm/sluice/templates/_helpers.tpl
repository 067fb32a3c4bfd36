{{/* Labels of everything that the chart makes; the argument is a list of context and component. */}}
{{- define "sluice.labels" -}}
{{- $context := index . 0 -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version }}
{{- end }}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* repository:tag; the argument is a list of context and image. */}}
{{- define "sluice.image" -}}
{{- $context := index . 0 -}}
{{- $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default $context.Chart.AppVersion }}
{{- end }}

{{/* The host of the bundled MongoDB's only member. */}}
{{- define "sluice.mongodb.host" -}}
sluice-mongodb-0.sluice-mongodb.{{ .Release.Namespace }}.svc
{{- end }}

{{/* What Pod Security `restricted` asks of every container. */}}
{{- define "sluice.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Made after the release is deleted, and deleted when all of it has worked; the argument is the order. */}}
{{- define "sluice.uninstallHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
