"""How each policy is made: by its name, for a replica and an SLA, from defaults or from parameters that are tuned.

A target in requests per replica is tuned as a `share` of the sequences that a replica runs, so that it means the same
on another accelerator. What has no parameters is the same tuned or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies import token_aware
from penstock_lab.simulate.policies.aibrix import AibrixKpa, Apa, Source
from penstock_lab.simulate.policies.base import Bounds, Policy
from penstock_lab.simulate.policies.dynamo import Dynamo, Sla, Target
from penstock_lab.simulate.policies.hpa import Behaviour, HorizontalPodAutoscaler, Metric, running_only, saturation
from penstock_lab.simulate.policies.keda import Keda
from penstock_lab.simulate.policies.kpa import Decider, Kpa
from penstock_lab.simulate.policies.kthena import Behaviour as KthenaBehaviour
from penstock_lab.simulate.policies.kthena import Kthena
from penstock_lab.simulate.policies.penstock import Penstock
from penstock_lab.simulate.policies.ray_serve import RayServe
from penstock_lab.simulate.policies.skyserve import SkyServe
from penstock_lab.simulate.policies.token_scale import TokenScale
from penstock_lab.simulate.policies.wva import Wva
from penstock_lab.simulate.policies.wva1 import WvaV1
from penstock_lab.simulate.policies.wva_queueing import WvaQueueing
from penstock_lab.simulate.score import Objectives
from penstock_operator.core.scaling import Policy as Terms

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """What a policy is made for.

    Attributes:
        name: that it has in results.
        profile: one replica.
        objectives: of the SLA.
        bounds: least and most replicas.
        settings: parameters in place of defaults, by name.
    """

    name: str
    profile: Profile
    objectives: Objectives
    bounds: Bounds
    settings: Settings

    def requests(self, default: float) -> float:
        """A target in requests per replica, from its share."""
        share = self.settings.get("share")
        return default if share is None else max(1.0, share * self.profile.max_num_seqs)

    def behaviour(self) -> Behaviour:
        """Of an HPA."""
        return Behaviour(**_only(self.settings, "stabilization_seconds"))


def _only(settings: Settings, *names: str) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _hpa(case: Case) -> Policy:
    return HorizontalPodAutoscaler(
        target=case.requests(16.0), bounds=case.bounds, behaviour=case.behaviour(), name=case.name
    )


def _keda(case: Case) -> Policy:
    return Keda(bounds=case.bounds, behaviour=case.behaviour(), name=case.name, **_only(case.settings, "target"))


def _keda_epp(case: Case) -> Policy:
    metrics = [
        Metric(saturation(case.profile.kv_tokens), 0.7, average=False),
        Metric(running_only, case.requests(16.0)),
    ]
    return Keda(metrics=metrics, bounds=case.bounds, behaviour=case.behaviour(), name=case.name)


def _kpa(case: Case) -> Policy:
    spec = Decider(target=case.requests(70.0), **_only(case.settings, "stable_seconds"))
    return Kpa(spec=spec, bounds=case.bounds, name=case.name)


def _wva(case: Case) -> Policy:
    return Wva(profile=case.profile, bounds=case.bounds, name=case.name, **_only(case.settings, *Wva.GRID))


def _wva_v1(case: Case) -> Policy:
    return WvaV1(profile=case.profile, bounds=case.bounds, name=case.name, **_only(case.settings, *WvaV1.GRID))


def _wva_queueing(case: Case) -> Policy:
    tighten = case.settings.get("tighten", 1.0)
    return WvaQueueing(
        profile=case.profile,
        ttft=case.objectives.ttft_seconds * tighten,
        itl=case.objectives.tpot_seconds * tighten,
        bounds=case.bounds,
        name=case.name,
        **_only(case.settings, "stabilization_seconds"),
    )


def _dynamo(target: Target, *, throughput: bool) -> Callable[[Case], Policy]:
    def make(case: Case) -> Policy:
        tighten = case.settings.get("tighten", 1.0)
        sla = Sla(
            ttft=case.objectives.ttft_seconds * tighten,
            itl=case.objectives.tpot_seconds * tighten,
            **_only(case.settings, "sensitivity"),
        )
        return Dynamo(
            profile=case.profile, sla=sla, target=target, throughput=throughput, bounds=case.bounds, name=case.name
        )

    return make


def _apa(*, shipped: bool) -> Callable[[Case], Policy]:
    def make(case: Case) -> Policy:
        return Apa(
            profile=case.profile,
            shipped=shipped,
            bounds=case.bounds,
            name=case.name,
            **_aibrix(case),
            **_only(case.settings, "window_seconds"),
        )

    return make


def _aibrix_kpa(*, shipped: bool) -> Callable[[Case], Policy]:
    def make(case: Case) -> Policy:
        return AibrixKpa(
            profile=case.profile,
            shipped=shipped,
            bounds=case.bounds,
            name=case.name,
            **_aibrix(case),
            **_only(case.settings, "stable_seconds"),
        )

    return make


def _aibrix(case: Case) -> dict[str, Any]:
    """Tuned it scales on requests: a share of the cache says too little where the cache is large."""
    if "share" not in case.settings:
        return {}
    return {"source": Source.REQUESTS, "target": case.requests(0.0)}


def _kthena(case: Case) -> Policy:
    behaviour = KthenaBehaviour(**_only(case.settings, "stabilization_seconds"))
    return Kthena(target=case.requests(16.0), behaviour=behaviour, bounds=case.bounds, name=case.name)


def _ray(case: Case) -> Policy:
    return RayServe(
        target=case.requests(2.0), bounds=case.bounds, name=case.name, **_only(case.settings, "down_seconds")
    )


def _sky(case: Case) -> Policy:
    return SkyServe(bounds=case.bounds, name=case.name, **case.settings)


def _token_aware(case: Case) -> Policy:
    return token_aware.token_aware(
        profile=case.profile,
        behaviour=token_aware.tuned(case.settings),
        bounds=case.bounds,
        name=case.name,
        **case.settings,
    )


def _token_scale(case: Case) -> Policy:
    itl = case.objectives.tpot_seconds
    return TokenScale(profile=case.profile, itl=itl, bounds=case.bounds, name=case.name, **case.settings)


def _penstock(case: Case) -> Policy:
    terms = Terms(
        min_replicas=case.bounds.minimum,
        max_replicas=case.bounds.maximum,
        tpot_seconds=case.objectives.tpot_seconds,
        ttft_seconds=case.objectives.ttft_seconds,
        allowed=1.0 - case.objectives.attainment,
        max_sequences=case.profile.max_num_seqs,
        step_tokens=case.profile.max_num_batched_tokens,
    )
    return Penstock(terms, kv_tokens=case.profile.kv_tokens)


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy.

    Attributes:
        make: it.
        grid: parameters that may be tuned, each with its values.
    """

    make: Callable[[Case], Policy]
    grid: Mapping[str, Sequence[float]]


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "penstock": Entry(_penstock, {}),
        "hpa": Entry(_hpa, HorizontalPodAutoscaler.GRID),
        "keda": Entry(_keda, Keda.GRID),
        "kpa": Entry(_kpa, Kpa.GRID),
        "wva-v2": Entry(_wva, Wva.GRID),
        "dynamo-sla": Entry(_dynamo(Target.SLA, throughput=True), Dynamo.GRID),
        "aibrix-apa": Entry(_apa(shipped=False), Apa.GRID),
        "aibrix-apa-shipped": Entry(_apa(shipped=True), Apa.GRID),
        "keda-epp": Entry(_keda_epp, HorizontalPodAutoscaler.GRID),
        "wva-v1": Entry(_wva_v1, WvaV1.GRID),
        "wva-queueing": Entry(_wva_queueing, WvaQueueing.GRID),
        "dynamo-load": Entry(_dynamo(Target.SLA, throughput=False), Dynamo.GRID),
        "dynamo-throughput": Entry(_dynamo(Target.OFF, throughput=True), {"tighten": Dynamo.GRID["tighten"]}),
        "dynamo-easy": Entry(_dynamo(Target.THROUGHPUT, throughput=False), {}),
        "dynamo-easy-latency": Entry(_dynamo(Target.LATENCY, throughput=False), {}),
        "aibrix-kpa": Entry(_aibrix_kpa(shipped=False), AibrixKpa.GRID),
        "aibrix-kpa-shipped": Entry(_aibrix_kpa(shipped=True), AibrixKpa.GRID),
        "kthena": Entry(_kthena, Kthena.GRID),
        "ray-serve": Entry(_ray, RayServe.GRID),
        "skyserve": Entry(_sky, SkyServe.GRID),
        "tokenscale": Entry(_token_scale, TokenScale.GRID),
        "llm-d-token-aware": Entry(_token_aware, token_aware.GRID),
    }
)
