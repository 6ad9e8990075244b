{{- define "penstock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 53 characters, so that "-operator" and "-gateway" fit into a label. */ -}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "penstock.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "penstock.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels of every object that is not a component's. */ -}}
{{- define "penstock.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Immutable selector of a component: (list $ "operator"). */ -}}
{{- define "penstock.selector" -}}
app.kubernetes.io/name: penstock-{{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end -}}

{{- /* Labels of a component's pods: (list $ "operator"). */ -}}
{{- define "penstock.podLabels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/part-of: penstock
{{- end -}}

{{- /* Metadata of a component's object: (list $ "operator"). */ -}}
{{- define "penstock.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "penstock.fullname" $root }}-{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "penstock.labels" $root | nindent 2 }}
  app.kubernetes.io/name: penstock-{{ index . 1 }}
{{- end -}}

{{- /* The same for an object without a namespace. */ -}}
{{- define "penstock.clusterMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "penstock.fullname" $root }}-{{ index . 1 }}
labels:
  {{- include "penstock.labels" $root | nindent 2 }}
  app.kubernetes.io/name: penstock-{{ index . 1 }}
{{- end -}}

{{- /* Image reference: (list $ .Values.operator.image). */ -}}
{{- define "penstock.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 0).Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- /* What `restricted` pod security asks of a pod. */ -}}
{{- define "penstock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* What it asks of a container. */ -}}
{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where a component's pods go: (list $ .Values.operator). */ -}}
{{- define "penstock.scheduling" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
Namespaces that are served, as JSON; an empty list is all of them. Where gateways run, their own namespace is one of
them, since the operator finds them by their pods.
*/ -}}
{{- define "penstock.namespaces" -}}
{{- $chosen := .Values.watchNamespaces -}}
{{- if and $chosen .Values.gateway.enabled -}}
{{- $chosen = append $chosen .Release.Namespace | uniq -}}
{{- end -}}
{{- toJson $chosen -}}
{{- end -}}

{{- /* Fails where kinds of the Prometheus Operator are asked for and not there: (list $ "podMonitor.enabled"). */ -}}
{{- define "penstock.needsPrometheusOperator" -}}
{{- if not ((index . 0).Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}
{{- fail (printf "%s is true, but the cluster does not serve monitoring.coreos.com/v1: install the Prometheus Operator first, or set %s=false" (index . 1) (index . 1)) -}}
{{- end -}}
{{- end -}}
