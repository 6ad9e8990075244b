{{- /*
Workers get their labels `namespace`, `inferenceservice` and `pod` from here and from nothing else, so that no exporter
can speak for another service. Gateway and operator speak of all services and label their samples themselves: their
targets carry the pod only, since a target's label would rename theirs.
*/ -}}
{{- define "penstock.scrapeConfigs" -}}
scrape_configs:
- job_name: penstock-worker
  scrape_interval: {{ .Values.scrape.intervalSeconds }}s
  scrape_timeout: {{ .Values.scrape.intervalSeconds }}s
  honor_labels: false
  kubernetes_sd_configs:
  - role: pod
    {{- with include "penstock.namespaces" . | fromJsonArray }}
    namespaces:
      names:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    selectors:
    - role: pod
      label: inference.penstock.dev/service
  relabel_configs:
  - source_labels: [__meta_kubernetes_pod_label_inference_penstock_dev_service]
    action: keep
    regex: .+
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    action: keep
    regex: http
  # Not only what is ready: a worker that loads its model must be a target already, or its first seconds are missing.
  - source_labels: [__meta_kubernetes_pod_phase]
    action: drop
    regex: Succeeded|Failed
  # TensorRT-LLM has its metrics elsewhere.
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
    regex: (.+)
    target_label: __metrics_path__
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_label_inference_penstock_dev_service]
    target_label: inferenceservice
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod
{{- range $component, $port := (include "penstock.scraped" . | fromYaml) }}
- job_name: penstock-{{ $component }}
  scrape_interval: {{ $.Values.scrape.intervalSeconds }}s
  scrape_timeout: {{ $.Values.scrape.intervalSeconds }}s
  honor_labels: false
  kubernetes_sd_configs:
  - role: pod
    namespaces:
      names: [{{ $.Release.Namespace }}]
    selectors:
    - role: pod
      label: app.kubernetes.io/name=penstock-{{ $component }},app.kubernetes.io/instance={{ $.Release.Name }}
  relabel_configs:
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    action: keep
    regex: {{ $port }}
  - source_labels: [__meta_kubernetes_pod_phase]
    action: drop
    regex: Succeeded|Failed
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod
{{- end }}
{{- end -}}

{{- /* Port with /metrics by component. */ -}}
{{- define "penstock.scraped" -}}
operator: http
{{- if .Values.gateway.enabled }}
gateway: admin
{{- end }}
{{- end -}}
