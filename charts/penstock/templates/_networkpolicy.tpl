{{- /*
Who may reach what. Traffic from a node to its own pods (the kubelet's probes) is always admitted by Kubernetes. Nothing
is said of egress: workers download models, and where API server and Prometheus are is not known here.
*/ -}}

{{- /* Pods of a component, from any namespace's point of view: (list $ "operator"). */ -}}
{{- define "penstock.peer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ (index . 0).Release.Namespace }}
podSelector:
  matchLabels:
    {{- include "penstock.selector" . | nindent 4 }}
{{- end -}}

{{- define "penstock.prometheusPeers" -}}
{{- if not .Values.networkPolicy.prometheusFrom -}}
{{- fail "networkPolicy.prometheusFrom is empty: name the pods of your Prometheus, or nothing could be scraped, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- toYaml .Values.networkPolicy.prometheusFrom -}}
{{- end -}}

{{- /* Namespaces whose workers are fenced in. */ -}}
{{- define "penstock.fenced" -}}
{{- toJson (default .Values.watchNamespaces .Values.networkPolicy.workerNamespaces) -}}
{{- end -}}
