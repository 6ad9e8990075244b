"""The worker pod template.

Restricted pod security, read-only root, no service account token. The model is mounted read-only. Probes: the startup
probe owns model loading, readiness follows the engine, liveness asks only whether the process answers. On termination
the pod first stays up for a moment so that routers can notice, then gets SIGTERM and `drain.timeoutSeconds` to finish.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock_contract import names
from penstock_operator.core import naming
from penstock_operator.core.engines import ENGINES, METRICS_PATH, MODEL_MOUNT, Engine, serve_options

if TYPE_CHECKING:
    from penstock_operator.api import InferenceServiceSpec

Manifest = dict[str, Any]

LEAVE_ENDPOINTS_SECONDS = 5
EXIT_SECONDS = 10
_STARTUP_PERIOD_SECONDS = 2


def pod_template(service: str, spec: InferenceServiceSpec, *, default_images: Mapping[str, str]) -> Manifest:
    """Template of the worker pods; see `desired.children` for arguments and errors."""
    runtime, scheduling = spec.runtime, spec.runtime.scheduling
    pod: Manifest = {
        "containers": [_container(service, spec, default_images)],
        "volumes": _volumes(spec),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": LEAVE_ENDPOINTS_SECONDS + spec.drain.timeout_seconds + EXIT_SECONDS,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": naming.selector(service)},
            }
        ],
    }
    tolerations = [_plain(item) for item in (scheduling.tolerations if scheduling else None) or ()]
    if runtime.accelerator.count:
        tolerations.insert(0, {"key": runtime.accelerator.resource_name, "operator": "Exists", "effect": "NoSchedule"})
    optional: Manifest = {
        "tolerations": tolerations,
        "imagePullSecrets": [_plain(item) for item in runtime.image_pull_secrets or ()],
        "serviceAccountName": runtime.service_account_name,
        "runtimeClassName": scheduling.runtime_class_name if scheduling else None,
        "priorityClassName": scheduling.priority_class_name if scheduling else None,
        "nodeSelector": dict((scheduling.node_selector if scheduling else None) or {}),
    }
    pod |= {key: value for key, value in optional.items() if value}
    return {"metadata": {"labels": naming.labels(service)} | _scraped_at(ENGINES[runtime.engine]), "spec": pod}


def _scraped_at(engine: Engine) -> Manifest:
    """Where Prometheus' job finds the metrics of an engine that has them in an unusual place."""
    return {} if engine.metrics_path == "/metrics" else {"annotations": {METRICS_PATH: engine.metrics_path}}


def _container(service: str, spec: InferenceServiceSpec, default_images: Mapping[str, str]) -> Manifest:
    runtime, engine = spec.runtime, ENGINES[spec.runtime.engine]
    container: Manifest = {
        "name": "worker",
        "image": runtime.image or default_images[engine.name],
        "args": [*engine.args(serve_options(service, spec)), *(runtime.args or ())],
        "env": _environment(spec, engine),
        "ports": _ports(engine),
        "resources": _resources(spec),
        "volumeMounts": _mounts(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "lifecycle": {"preStop": _pre_stop(engine, spec.drain.timeout_seconds)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return container | _probes(engine, runtime.startup_timeout_seconds)


# Runs in the engine's own image, which has Python: leave the endpoints, then wait until nothing is in flight.
_WAIT_UNTIL_IDLE = """\
import sys, time, urllib.request
url, leave, longest, gauges = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
end = time.monotonic() + leave + longest
time.sleep(leave)
while time.monotonic() < end:
    try:
        page = urllib.request.urlopen(url, timeout=5).read().decode()
    except OSError as error:
        if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
            break
        page = None
    lines = [] if page is None else [l for l in page.splitlines() if l.partition("{")[0].partition(" ")[0] in gauges]
    if lines and sum(float(l.rsplit(" ", 1)[1]) for l in lines) == 0:
        break
    time.sleep(0.5)
"""


def _pre_stop(engine: Engine, drain_seconds: int) -> Manifest:
    if engine.finishes:
        return {"sleep": {"seconds": LEAVE_ENDPOINTS_SECONDS}}
    url = f"http://127.0.0.1:{names.HTTP_PORT}{engine.metrics_path}"
    waits = [str(LEAVE_ENDPOINTS_SECONDS), str(drain_seconds)]
    return {"exec": {"command": ["python3", "-c", _WAIT_UNTIL_IDLE, url, *waits, *engine.work]}}


def _plain(model: Any) -> Manifest:
    dumped = model.model_dump(by_alias=True, exclude_none=True)
    # The API server stores no empty strings, so one that is sent would look like drift for ever.
    return {key: value for key, value in dumped.items() if value != ""}


def _environment(spec: InferenceServiceSpec, engine: Engine) -> list[Manifest]:
    """The user's variables and ours; one that the user names stands, since names may not occur twice."""
    env = [_plain(item) for item in spec.runtime.env or ()]
    ours: list[Manifest] = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 - an emptyDir, the root is read-only
    source = spec.model.source.hugging_face
    if source is not None and engine.downloads:
        ours.append({"name": "HF_HOME", "value": "/tmp/huggingface"})  # noqa: S108 - the same
        if source.token_secret_ref is not None:
            reference = _plain(source.token_secret_ref)
            ours.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    named = {item["name"] for item in env}
    return env + [item for item in ours if item["name"] not in named]


def _ports(engine: Engine) -> list[Manifest]:
    ports = [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}]
    if engine.admin_port:
        ports.append({"name": "admin", "containerPort": names.ADMIN_PORT, "protocol": "TCP"})
    return ports


def _resources(spec: InferenceServiceSpec) -> Manifest:
    accelerator, wanted = spec.runtime.accelerator, spec.runtime.resources
    requests = {key: str(value) for key, value in ((wanted.requests if wanted else None) or {}).items()}
    limits = {key: str(value) for key, value in ((getattr(wanted, "limits", None) if wanted else None) or {}).items()}
    if accelerator.count:
        limits[accelerator.resource_name] = str(accelerator.count)
        requests[accelerator.resource_name] = str(accelerator.count)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def _volumes(spec: InferenceServiceSpec) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    source = spec.model.source
    if source.pvc is not None:
        claim = {"claimName": source.pvc.claim_name, "readOnly": True}
        volumes.append({"name": "model", "persistentVolumeClaim": claim})
    elif source.image is not None:
        volumes.append({"name": "model", "image": {"reference": source.image.reference}})
    return volumes


def _mounts(spec: InferenceServiceSpec) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - an emptyDir in memory
    ]
    if spec.model.source.pvc is not None or spec.model.source.image is not None:
        mounts.append({"name": "model", "mountPath": MODEL_MOUNT, "readOnly": True})
    return mounts


def _probes(engine: Engine, startup_timeout_seconds: int) -> Manifest:
    def http(path: str) -> Manifest:
        return {"httpGet": {"path": path, "port": "http"}}

    return {
        "startupProbe": http(engine.ready_path)
        | {
            "periodSeconds": _STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 2,
            "failureThreshold": math.ceil(startup_timeout_seconds / _STARTUP_PERIOD_SECONDS),
        },
        "readinessProbe": http(engine.ready_path) | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": http(engine.health_path) | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }
