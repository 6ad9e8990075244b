{{- /* What the operator and `penstock doctor` beside it are told of the cluster and of Prometheus. */ -}}

{{- define "penstock.operatorEnvironment" -}}
- name: PENSTOCK_PROMETHEUS_URL
  value: {{ required "prometheus.url is empty: set it to the query API of your Prometheus, such as http://prometheus.monitoring:9090" .Values.prometheus.url | quote }}
{{- if .Values.prometheus.tokenSecretRef.name }}
- name: PENSTOCK_PROMETHEUS_TOKEN_FILE
  value: /etc/penstock/prometheus-token/token
{{- end }}
{{- if .Values.prometheus.basicAuthSecretRef.name }}
{{- if .Values.prometheus.tokenSecretRef.name }}
{{- fail "prometheus.tokenSecretRef.name and prometheus.basicAuthSecretRef.name are both set: Prometheus takes one of them; empty the other" }}
{{- end }}
- name: PENSTOCK_PROMETHEUS_USERNAME_FILE
  value: /etc/penstock/prometheus-basic/username
- name: PENSTOCK_PROMETHEUS_PASSWORD_FILE
  value: /etc/penstock/prometheus-basic/password
{{- end }}
{{- if .Values.prometheus.caConfigMapRef.name }}
- name: PENSTOCK_PROMETHEUS_CA_FILE
  value: /etc/penstock/prometheus-ca/ca.crt
{{- end }}
{{- with .Values.prometheus.headers }}
{{- range $name, $value := . }}
{{- if eq (lower $name) "authorization" }}
{{- fail "prometheus.headers.Authorization would be readable in the Deployment: use prometheus.tokenSecretRef or prometheus.basicAuthSecretRef" }}
{{- end }}
{{- end }}
- name: PENSTOCK_PROMETHEUS_HEADERS
  value: {{ toJson . | quote }}
{{- end }}
- name: PENSTOCK_NAMESPACES
  value: {{ include "penstock.namespaces" . | fromJsonArray | join "," | quote }}
{{- end -}}

{{- define "penstock.operatorMounts" -}}
- name: tmp
  mountPath: /tmp
{{- range $name, $reference := (include "penstock.operatorFiles" . | fromYaml) }}
- name: {{ $name }}
  mountPath: /etc/penstock/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "penstock.operatorVolumes" -}}
- name: tmp
  emptyDir: {}
{{- range $name, $source := (include "penstock.operatorFiles" . | fromYaml) }}
- name: {{ $name }}
  {{- toYaml $source | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Volumes with credentials of Prometheus, by name. */ -}}
{{- define "penstock.operatorFiles" -}}
{{- $files := dict -}}
{{- with .Values.prometheus.tokenSecretRef -}}
{{- if .name -}}
{{- $_ := set $files "prometheus-token" (dict "secret" (dict "secretName" .name "items" (list (dict "key" .key "path" "token")))) -}}
{{- end -}}
{{- end -}}
{{- with .Values.prometheus.basicAuthSecretRef -}}
{{- if .name -}}
{{- $items := list (dict "key" .usernameKey "path" "username") (dict "key" .passwordKey "path" "password") -}}
{{- $_ := set $files "prometheus-basic" (dict "secret" (dict "secretName" .name "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.prometheus.caConfigMapRef -}}
{{- if .name -}}
{{- $_ := set $files "prometheus-ca" (dict "configMap" (dict "name" .name "items" (list (dict "key" .key "path" "ca.crt")))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}
