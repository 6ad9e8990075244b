{{- /* The rules of Prometheus, with links to the runbook if its page is known; without those of gateways where there are none. */ -}}
{{- define "penstock.alerts" -}}
{{- $page := .Values.alerts.runbookUrl -}}
{{- $file := .Files.Get "files/alerts.yaml" | replace "RUNBOOK#" (printf "%s#" $page) | fromYaml -}}
{{- $groups := list -}}
{{- range $file.groups -}}
{{- if not $page -}}
{{- range .rules -}}
{{- $_ := unset (default dict .annotations) "runbook_url" -}}
{{- end -}}
{{- end -}}
{{- if or $.Values.gateway.enabled (ne .name "penstock.gateway") -}}
{{- $groups = append $groups . -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end -}}
