"""Rules that need no cluster: images, paths, expansion, quantities, back-off, grace, addresses, settings."""

import asyncio
import sys
from decimal import Decimal

import pytest

from penstock_lab.nodeagent.addresses import AddressPool
from penstock_lab.nodeagent.backoff import Backoff
from penstock_lab.nodeagent.environment import expand
from penstock_lab.nodeagent.errors import ImageError, SettingsError
from penstock_lab.nodeagent.grace import Grace
from penstock_lab.nodeagent.images import ImageTable
from penstock_lab.nodeagent.launch import niceness
from penstock_lab.nodeagent.messages import termination_message
from penstock_lab.nodeagent.paths import PathMap
from penstock_lab.nodeagent.quantity import parse_quantity
from penstock_lab.nodeagent.settings import parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("4", "4"),
        ("64Gi", 64 * 2**30),
        ("1e3", 1000),
        ("1.5k", 1500),
        ("100n", "1e-7"),
        ("3E", "3e18"),
    ],
)
def test_quantity(text, value):
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "4 cores", "1ki", "Gi", "1e3Gi"])
def test_not_a_quantity(text):
    with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)$(B)y", "x12y"),
        ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
    ],
)
def test_expansion(text, expanded):
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/models", "/real/m"),
        ("/models/a", "/real/m/a"),
        ("--model=/models/a", "--model=/real/m/a"),
        ("cat /models/a /models/sub/b", "cat /real/m/a /other/b"),
        ("/models2 /x/models http://h/models ./models", "/models2 /x/models http://h/models ./models"),
        ("/a:/models:/b", "/a:/real/m:/b"),
    ],
)
def test_paths(text, rewritten):
    assert PathMap({"/models/": "/real/m", "/models/sub": "/other/"}).rewrite(text) == rewritten


def test_no_paths_change_nothing():
    assert PathMap({"/": "/real"}).rewrite("/models") == "/models"


TABLE = """
app/one:1: {argv: [one]}
app/*: {argv: ["{python}", -m, app], args: [serve], env: {A: 1}, paths: {/m: /real}}
"""


def test_image_table_prefers_names_to_globs_and_sees_changes(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text(TABLE)
    table = ImageTable(path)
    assert table.find("app/one:1").argv == ("one",)
    image = table.find("app/two:1")
    assert (image.argv, image.env, image.paths) == ((sys.executable, "-m", "app"), {"A": "1"}, {"/m": "/real"})
    with pytest.raises(ImageError, match='image "other:1"'):
        table.find("other:1")
    path.write_text(TABLE + "other:1: {argv: [other, one]}\n")
    assert table.find("other:1").argv == ("other", "one")


def test_command_line_follows_kubernetes(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text("i: {argv: [entry, point], args: [cmd]}")
    image = ImageTable(path).find("i")
    assert image.command_line(None, None) == ["entry", "point", "cmd"]
    assert image.command_line(None, ["a"]) == ["entry", "point", "a"]
    assert image.command_line(["c"], None) == ["c"]
    assert image.command_line(["c"], ["a"]) == ["c", "a"]


@pytest.mark.parametrize("text", ["- a", "i: {env: {}}", "i: {argv: [x], mounts: []}", "{"])
def test_bad_image_table_names_the_file(tmp_path, text):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"images\.yaml"):
        ImageTable(path)


def test_backoff_counts_as_a_kubelet():
    backoff = Backoff(10.0)
    assert [backoff.after(1.0) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [backoff.after(601.0), backoff.after(1.0)] == [0, 10]


async def test_grace_only_moves_closer():
    grace = Grace()
    assert not grace.begun.is_set()
    assert grace.left == float("inf")
    waiting = asyncio.create_task(grace.over())
    grace.begin(3600.0)
    grace.begin(7200.0)
    assert grace.left <= 3600.0
    await asyncio.sleep(0)
    grace.begin(0.0)
    await asyncio.wait_for(waiting, 10)


def test_addresses_are_unique_and_reused_last():
    pool = AddressPool("127.9")
    first = pool.take()
    pool.free(first)
    others = {pool.take() for _ in range(1000)}
    assert len(others) == 1000
    assert first not in others
    assert pool.take(preferred=first) == first
    assert pool.take(preferred=first) != first
    assert pool.take(preferred="10.0.0.1").startswith("127.9.")
    assert pool.node(0) == "127.9.255.1"


@pytest.mark.parametrize("prefix", ["10.0", "127", "127.300", "127.1.2", ""])
def test_bad_prefix(prefix):
    with pytest.raises(SettingsError, match="--address-prefix"):
        AddressPool(prefix)


@pytest.mark.parametrize(("limit", "nice"), [(None, 0), ("4", 0), ("16", 0), ("1", 6), ("500m", 9), ("1m", 15)])
def test_niceness(limit, nice):
    assert niceness(limit) == nice


def arguments(tmp_path, **changes):
    options = {"kubeconfig": "k", "address_prefix": "127.9", "state_dir": tmp_path, "images": "i", "cluster_id": "c"}
    words = [[f"--{name.replace('_', '-')}", str(value)] for name, value in (options | changes).items()]
    return [word for pair in words for word in pair]


def test_settings(tmp_path):
    settings = parse_settings(
        arguments(tmp_path, nodes=3, gpus_per_node=2), {"LANG": "C", "PATH": "/bin", "HOME": "/h"}
    )
    assert settings.node_capacity == {"cpu": "32", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "2"}
    assert settings.environment["LANG"] == "C"
    assert settings.environment["PATH"].endswith(":/bin")
    assert "HOME" not in settings.environment
    assert "nvidia.com/gpu" not in parse_settings(arguments(tmp_path), {}).node_capacity


@pytest.mark.parametrize(
    "changes",
    [{"nodes": 0}, {"nodes": 300}, {"gpus_per_node": -1}, {"memory_per_node": "lots"}, {"crash_backoff_seconds": 0}],
)
def test_bad_settings_name_the_option(tmp_path, changes):
    with pytest.raises(SettingsError, match=f"--{next(iter(changes)).replace('_', '-')}"):
        parse_settings(arguments(tmp_path, **changes), {})


def test_termination_message_falls_back_to_this_runs_log_on_errors_only(tmp_path):
    log, written = tmp_path / "log", tmp_path / "written"
    log.write_text("old run\n" + "\n".join(f"line {number}" for number in range(100)) + "\n")
    spec = {"terminationMessagePolicy": "FallbackToLogsOnError"}

    def message(code, policy=spec):
        return termination_message(policy, exit_code=code, written=written, log_file=log, log_offset=8)

    assert message(1).splitlines() == [f"line {number}" for number in range(20, 100)]
    assert message(0) == message(1, {}) == ""
    written.write_text("mine")
    assert message(1) == message(0) == "mine"
    written.write_text("")
    log.write_text("old run\n" + "x" * 5000)
    assert message(1) == "x" * 2048
