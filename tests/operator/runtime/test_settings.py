from pathlib import Path

import pytest

from penstock_operator.adapters.prometheus import Access
from penstock_operator.api import Engine
from penstock_operator.runtime.settings import ENGINES, Settings, SettingsError

URL = {"PENSTOCK_PROMETHEUS_URL": "http://prometheus:9090/"}


def test_defaults() -> None:
    found = Settings.from_environment(URL)
    assert found.prometheus_url == "http://prometheus:9090"
    assert found.kubeconfig is None
    assert found.namespaces == ()
    assert (found.tick_seconds, found.resync_seconds, found.workers, found.listen_port) == (5.0, 600.0, 8, 8080)
    assert set(found.default_images) == set(ENGINES) == {str(engine) for engine in Engine}


def test_all_that_can_be_set() -> None:
    found = Settings.from_environment(
        {
            "PENSTOCK_PROMETHEUS_URL": "https://prometheus",
            "KUBECONFIG": "/etc/kubeconfig",
            "PENSTOCK_NAMESPACES": "team-a, team-b ,,",
            "PENSTOCK_PROMETHEUS_TOKEN_FILE": "/var/token",
            "PENSTOCK_PROMETHEUS_CA_FILE": "/var/ca",
            "PENSTOCK_PROMETHEUS_HEADERS": '{"X-Scope-OrgID": "team-a"}',
            "PENSTOCK_TICK_SECONDS": "0.5",
            "PENSTOCK_RESYNC_SECONDS": "60",
            "PENSTOCK_WORKERS": "3",
            "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
            "PENSTOCK_LISTEN_PORT": "9000",
            "PENSTOCK_IMAGE_VLLM": "mine:1",
        }
    )
    assert found == Settings(
        prometheus_url="https://prometheus",
        kubeconfig="/etc/kubeconfig",
        namespaces=("team-a", "team-b"),
        prometheus_access=Access(
            token_file=Path("/var/token"), ca_file=Path("/var/ca"), headers={"X-Scope-OrgID": "team-a"}
        ),
        tick_seconds=0.5,
        resync_seconds=60.0,
        workers=3,
        listen_host="127.0.0.1",
        listen_port=9000,
        default_images=found.default_images,
    )
    assert found.default_images["VLLM"] == "mine:1"
    assert found.default_images["TGI"] == Settings(prometheus_url="http://p").default_images["TGI"]


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://prometheus"])
def test_the_url_of_prometheus_is_needed(url: str) -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_PROMETHEUS_URL must be an http"):
        Settings.from_environment({"PENSTOCK_PROMETHEUS_URL": url})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PENSTOCK_TICK_SECONDS", text) for text in ("0", "-1", "x", "nan", "inf", "61", "")
    ]
    + [("PENSTOCK_RESYNC_SECONDS", text) for text in ("0", "ten", "1e9")]
    + [("PENSTOCK_WORKERS", text) for text in ("0", "0.5", "-2", "many", "1025", "²")]
    + [("PENSTOCK_LISTEN_PORT", text) for text in ("0", "65536", "80.5", "http")],
)  # fmt: skip
def test_a_wrong_value_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name) as problem:
        Settings.from_environment(URL | {name: text})
    assert repr(text) in str(problem.value)


FILES = {f"PENSTOCK_PROMETHEUS_{name}_FILE": f"/{name}" for name in ("TOKEN", "USERNAME", "PASSWORD")}


@pytest.mark.parametrize("left_out", ["PENSTOCK_PROMETHEUS_USERNAME_FILE", "PENSTOCK_PROMETHEUS_PASSWORD_FILE", ""])
def test_credentials_of_prometheus_are_one_kind_and_whole(left_out: str) -> None:
    given = {name: path for name, path in FILES.items() if name != left_out}
    with pytest.raises(SettingsError, match="PENSTOCK_PROMETHEUS_USERNAME_FILE"):
        Settings.from_environment(URL | given)


@pytest.mark.parametrize(
    "text",
    ["X-Scope-OrgID: a", "[]", '{"a": 1}', '{"authorization": "Bearer x"}', '{"a b": "c"}', '{"a": "b\\r\\nc: d"}'],
)
def test_headers_that_cannot_be_sent_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_PROMETHEUS_HEADERS"):
        Settings.from_environment(URL | {"PENSTOCK_PROMETHEUS_HEADERS": text})


def test_empty_paths_are_none() -> None:
    found = Settings.from_environment(URL | {"PENSTOCK_PROMETHEUS_TOKEN_FILE": "", "KUBECONFIG": ""})
    assert found.prometheus_access == Access()
    assert found.kubeconfig is None
