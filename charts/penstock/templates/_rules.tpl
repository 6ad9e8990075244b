{{- /*
All that the components may do, in one place: a ClusterRole and a Role per namespace grant the same. The test of the
audit log fails for a request beyond these rules, and for a verb here that no request used.
*/ -}}

{{- define "penstock.operatorRules" -}}
- apiGroups: [inference.penstock.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [inference.penstock.dev]
  resources: [inferenceservices/status]
  verbs: [patch]
# Owner references that block the owner's deletion need it where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [inference.penstock.dev]
  resources: [inferenceservices/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# The mark of a draining pod and its deletion cost are annotations.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "penstock.gatewayRules" -}}
- apiGroups: [inference.penstock.dev]
  resources: [inferenceservices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end -}}
