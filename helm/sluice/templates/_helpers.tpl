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

{{/*
Fails where the operator would: below one byte, or above the most. Nothing is printed; the argument is a
list of the value's name, the quantity as the schema admits it, and the most.
*/}}
{{- define "sluice.checkQuantity" -}}
{{- $quantity := index . 1 -}}
{{- $most := index . 2 -}}
{{- $bytes := include "sluice.bytes" $quantity | float64 -}}
{{- if or (lt $bytes 1.0) (gt $bytes (include "sluice.bytes" $most | float64)) -}}
{{- fail (printf "%s is %q; write a quantity from 1 to %s" (index . 0) $quantity $most) -}}
{{- end -}}
{{- end }}

{{/* The same for a share of a disk, which may be nothing; the argument is a list of name and share. */}}
{{- define "sluice.checkShare" -}}
{{- $share := index . 1 -}}
{{- if not (or (hasSuffix "%" $share) (regexMatch "^[0.]+[a-zA-Z]*$" $share)) -}}
{{- include "sluice.checkQuantity" (append . "4Pi") -}}
{{- end -}}
{{- end }}

{{- define "sluice.bytes" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $kibi := 1024.0 -}}
{{- $mebi := mulf $kibi $kibi -}}
{{- $factors := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" $kibi "Mi" $mebi "Gi" (mulf $mebi $kibi) "Ti" (mulf $mebi $mebi) "Pi" (mulf $mebi $mebi $kibi) -}}
{{- mulf (float64 $number) (get $factors (trimPrefix $number .)) -}}
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
