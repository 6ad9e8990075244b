"""API group, labels, annotations, field managers, ports and HTTP header names.

These cross process borders: a selector in the gateway must match a label the operator writes, a Prometheus
relabelling rule must match both. They are constants here so that no part can spell one differently.
"""

from typing import Final

GROUP: Final = "inference.penstock.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "InferenceService"
PLURAL: Final = "inferenceservices"
SINGULAR: Final = "inferenceservice"
SHORT_NAME: Final = "infsvc"

# Labels of the children. SERVICE is also the (immutable) selector, and what scrape configurations turn into the
# metric label LABEL_SERVICE.
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
SERVICE: Final = f"{GROUP}/service"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
PART_OF: Final = "penstock"
WORKER_NAME: Final = "penstock-worker"
GATEWAY_NAME: Final = "penstock-gateway"
MANAGED_BY: Final = "penstock-operator"

# Annotations.
DRAINING: Final = f"{GROUP}/draining"
MANIFEST_HASH: Final = f"{GROUP}/manifest-hash"
POD_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

# Server-side apply field managers: the first owns objects and reconcile conditions, the second owns `/scale` and
# scaling conditions.
OPERATOR_MANAGER: Final = "penstock-operator"
AUTOSCALER_MANAGER: Final = "penstock-autoscaler"

# Worker ports. The second carries the mutating endpoints and is never proxied.
HTTP_PORT: Final = 8000
ADMIN_PORT: Final = 8001
BIND_ADDRESS_ENV: Final = "PENSTOCK_BIND_ADDRESS"

# The gateway: where clients talk to, and where probes, Prometheus and the operator do.
GATEWAY_PORT: Final = 8080
GATEWAY_ADMIN_PORT: Final = 8081

# Metric labels added by target relabelling, never by an exporter.
LABEL_NAMESPACE: Final = "namespace"
LABEL_SERVICE: Final = "inferenceservice"
LABEL_POD: Final = "pod"

# Response headers of non-streamed replies: durations in seconds, as decimal strings.
HEADER_TTFT: Final = "x-penstock-ttft-seconds"
HEADER_TPOT: Final = "x-penstock-tpot-seconds"
HEADER_QUEUE_WAIT: Final = "x-penstock-queue-wait-seconds"
HEADER_REQUEST_ID: Final = "x-request-id"

# Objectives. TPOT is defined from this many output tokens on.
OBJECTIVE_METRICS: Final = ("TTFT", "TPOT", "ITL", "QueueWait", "E2E")
TPOT_MIN_TOKENS: Final = 16
# The gateways count prompts by the bits of their length: 2^(i-1) <= tokens < 2^i for i > 0, the last one open.
PROMPT_LENGTH_BITS: Final = 24
