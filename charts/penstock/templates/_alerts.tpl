{{- /* The rules of Prometheus, with links to the runbook; without those of gateways where there are none. */ -}}
{{- define "penstock.alerts" -}}
{{- $file := .Files.Get "files/alerts.yaml" | replace "RUNBOOK#" (printf "%s#" .Values.alerts.runbookUrl) | fromYaml -}}
{{- $groups := list -}}
{{- range $file.groups -}}
{{- if or $.Values.gateway.enabled (ne .name "penstock.gateway") -}}
{{- $groups = append $groups . -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end -}}
