{{- define "onebit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "onebit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "onebit.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "onebit.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "onebit.selectorLabels" -}}
app.kubernetes.io/name: {{ include "onebit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "onebit.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "onebit.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "onebit.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "onebit.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The smallest number of replicas that this release can have. */ -}}
{{- define "onebit.minReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.minReplicas -}}
{{- else if .Values.keda.enabled -}}
{{- .Values.keda.minReplicas -}}
{{- else -}}
{{- .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{- /* drain_seconds, then up to two seconds of farewell, one for connections that linger, and some air. */ -}}
{{- define "onebit.gracePeriodSeconds" -}}
{{- add .Values.preStopSeconds .Values.drainSeconds 10 -}}
{{- end -}}

{{- define "onebit.keysSecretName" -}}
{{- if .Values.apiKeys.existingSecret.name -}}
{{- .Values.apiKeys.existingSecret.name -}}
{{- else if .Values.apiKeys.inline -}}
{{- printf "%s-keys" (include "onebit.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "onebit.keysSecretKey" -}}
{{- if .Values.apiKeys.existingSecret.name -}}
{{- .Values.apiKeys.existingSecret.key -}}
{{- else -}}
api-keys
{{- end -}}
{{- end -}}

{{- /* A setting as the environment carries it: lists with commas, and no 4.29e+09. */ -}}
{{- define "onebit.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "onebit.checks" -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled exclude each other: both would set the number of replicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetStreamPercent) (not .Values.autoscaling.targetCPUPercent) -}}
{{- fail "autoscaling needs targetStreamPercent or targetCPUPercent" -}}
{{- end -}}
{{- if and .Values.apiKeys.inline .Values.apiKeys.existingSecret.name -}}
{{- fail "apiKeys.inline and apiKeys.existingSecret exclude each other" -}}
{{- end -}}
{{- end -}}
