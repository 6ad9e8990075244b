"""The chart installed by helm on a cluster of its own, whose audit log is that of this one installation.

Its story (tests/support/chart_story.py) is lived through once; the tests look at what was seen on the way.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart_story import PREVIOUS, PROFILE, TEAM, Story, live
from chart_watch import Watch
from penstock_lab import install as lab
from penstock_lab.cluster import LocalCluster

pytestmark = pytest.mark.cluster

OPERATOR, GATEWAY = "penstock-operator", "penstock-gateway"
# No worker holds an accelerator, nothing failed, no answer has the 16 tokens that a TPOT takes, all was decided before,
# and predictions take an objective that the number of replicas moves.
NOT_YET = {
    "Cost per hour",
    "Cost per million tokens",
    "Signals that are not fresh",
    "Operator's errors",
    "Time per output token",
    "Decisions by reason",
    "Predicted attainment by replicas",
}
# Granted, and not to be seen in the audit log of this story.
UNSEEN = {
    (OPERATOR, "inference.penstock.dev", "inferenceservices/finalizers", "update"): (
        "asked for by the admission plugin OwnerReferencesPermissionEnforcement, which sends no request"
    ),
}


@pytest.fixture(scope="module")
def cluster_of_its_own(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[LocalCluster]:
    """One node, and a checkpoint with a profile for its workers."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny, models / "tiny")
    (models / "profile.json").write_text(json.dumps(PROFILE.to_json()))
    with LocalCluster(f"chart-{os.getpid()}", models=models) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def story(cluster_of_its_own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return live(cluster_of_its_own, tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="module")
def watch(story: Story) -> Watch:
    assert story.watch is not None
    return story.watch


def test_operator_and_gateways_run_under_restricted_pod_security(story: Story) -> None:
    names = sorted(pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in story.pods)
    assert names == [GATEWAY, GATEWAY, OPERATOR]
    for pod in story.pods:
        (status,) = pod["status"]["containerStatuses"]
        assert status["ready"]
        assert status["restartCount"] == 0


def test_tokens_come_from_the_worker_and_through_the_gateway(story: Story) -> None:
    for asked in ("worker", "gateway", "gateway of one namespace", "after the uninstallation"):
        answer = story.answers[asked]
        assert answer.status_code == 200, f"{asked}: {answer.text}"
        assert answer.json()["usage"]["completion_tokens"] == 8


def test_the_gateway_asks_for_the_key_of_the_secret(story: Story) -> None:
    assert story.answers["no key"].status_code == 401


def test_no_request_beyond_the_rules(story: Story) -> None:
    """With a ClusterRole, and with a Role in the one namespace that is served."""
    for part in (story.heard, story.later):
        assert {one.account for one in part} == {OPERATOR, GATEWAY}
        assert sorted({one.refused for one in part} - {""}) == []
        assert {need for one in part for need in one.needs} <= story.rules


def test_no_verb_that_nobody_used(story: Story) -> None:
    used = {need for one in story.heard for need in one.needs}
    assert sorted(story.rules - used - UNSEEN.keys()) == []
    assert UNSEEN.keys() <= story.rules, "remove from the table what is not granted any more"


def test_namespaced_rights_are_asked_for_there_only(story: Story) -> None:
    assert {one.namespace for one in story.later} == {TEAM, lab.NAMESPACE}


def test_samples_speak_of_the_service_and_nobody_renames_them(watch: Watch) -> None:
    for name, series in watch.scraped.items():
        for labels in series:
            assert (labels["namespace"], labels["inferenceservice"]) == (TEAM, "chat"), name
            assert labels["pod"].startswith(("chat-", OPERATOR, GATEWAY))
            assert not [label for label in labels if label.startswith("exported_")], name


def test_an_upgrade_from_the_previous_chart_leaves_workers_alone(story: Story) -> None:
    if story.upgraded is None:
        pytest.skip(f"the repository does not hold commit {PREVIOUS}: a clone with its history does")
    before, after = story.upgraded
    assert before == after
    assert len(after) == 1


def test_prometheus_takes_the_rules_and_nothing_is_wrong_with_the_release(watch: Watch) -> None:
    assert {name: health for name, health in watch.rules_health.items() if health != "ok"} == {}
    assert {"PenstockOperatorDown", "PenstockObjectiveMissed"} <= watch.rules_health.keys()
    assert watch.alerts == {"PenstockDeviceEmulated"}
    (burn,) = watch.burn
    assert (burn["metric"]["percentile"], float(burn["value"][1])) == ("99", 0.0)


def test_the_dashboard_shows_what_there_is(watch: Watch) -> None:
    empty = {title for title, found in watch.panels.items() if not found}
    assert empty <= NOT_YET, "panels without a series"


def test_helm_test_finds_all_that_the_operator_needs(story: Story) -> None:
    assert "Phase:          Succeeded" in story.examined


def test_the_notes_say_what_is_served_and_what_comes_next(story: Story) -> None:
    assert "all namespaces" in story.notes["all"]
    assert "the namespaces team-a" in story.notes["one"]
    for text in (
        "kubectl rollout status",
        "helm test penstock",
        "kubectl apply -n ",
        "kubectl port-forward",
        "Authorization: Bearer",
    ):
        assert text in story.notes["one"]


def test_only_the_crd_is_left(story: Story) -> None:
    """And with it the services, whose workers still answer (above)."""
    assert story.left == {"CustomResourceDefinition": ["inferenceservices.inference.penstock.dev"]}
