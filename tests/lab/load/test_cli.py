"""The command: what it refuses and how it says so, what it finds out first, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from events import DONE, event, text
from oddserver import CARD
from penstock_lab.load.cli import load
from penstock_lab.load.plot import draw
from worker_process import free_ports

TRACE = "timestamp,prompt_tokens,output_tokens\n" + "".join(f"{at / 10},{at + 20},{at % 4 + 2}\n" for at in range(20))
SERIES = (
    "second", "sent", "answered", "failed", "in_flight", "output_tokens", "ttft_p50_seconds", "ttft_p99_seconds",
)  # fmt: skip
LATE = ("--max-lag", "5s")  # other tests want the cores as well
FAST = ("--rate", "20", "--duration", "1", "--prompt-tokens", "8:24", "--output-tokens", "3", "--quiet", *LATE)


def call(*arguments, env=None):
    return CliRunner(env={"OPENAI_API_KEY": None, **(env or {})}).invoke(load, [str(each) for each in arguments])


async def invoke(*arguments, env=None):
    return await asyncio.to_thread(call, *arguments, env=env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--rate is needed, in requests per second"),
        (("--rate", "many"), "'--rate': 'many' is no rate"),
        (("--rate", "0"), "--rate must be above 0"),
        (("--rate", "1", "--duration", "soon"), "'--duration': 'soon' is no duration: use a number of seconds"),
        (("--rate", "1", "--duration", "0"), "--duration must be above 0"),
        (("--rate", "1", "--prompt-tokens", "9:1"), "'--prompt-tokens': '9:1' is no number of tokens"),
        (("--rate", "1", "--warmup", "60"), "--warmup 60 s leaves nothing of 60 s"),
        (("--rate", "1", "--on", "5"), "--on goes with --arrivals on-off, not with poisson"),
        (("--rate", "1", "--arrivals", "on-off", "--on", "5"), "--off is needed with --arrivals on-off"),
        (("--rate", "1", "--arrivals", "ramp"), "--rate-to is needed with --arrivals ramp"),
        (("--rate", "1", "--arrivals", "diurnal", "--peak-to-trough", "0.5"), "--peak-to-trough must be at least 1"),
        (("--arrivals", "trace"), "--trace is needed with --arrivals trace"),
        (("--trace", __file__, "--rate", "3"), "--rate cannot be given here: a trace has its own"),
        (("--trace", __file__, "--mix", "chat"), "--mix cannot be given here: a trace has its own lengths"),
        (("--trace", __file__), "none of the formats azure"),
        (("--phase", "burst:30"), "'--phase': 'burst:30' is no phase: use NAME:SECONDS:RATE"),
        (("--phase", "a:1:1", "--rate", "1"), "--rate cannot be given here: each --phase has its own"),
        (("--sweep", "1,2"), "--sweep needs an objective to find the knee: --ttft"),
        (("--sweep", "1,x", "--ttft", "1"), "'--sweep': 'x' is no rate"),
        (("--sweep", "1,2", "--rate", "1", "--ttft", "1"), "--rate is where --sweep auto begins"),
        (("--sweep", "auto", "--phase", "a:1:1", "--ttft", "1"), "--sweep goes with --arrivals poisson or constant"),
        (("--rate", "1", "--header", "nothing"), "'--header': 'nothing' is no header"),
        (("--rate", "1", "--save-requests"), "--save-requests needs --out"),
        (("--rate", "1", "--mix", "poetry"), "'poetry' is not one of 'chat', 'code'"),
        (("--rate", "900000", "--duration", "1h"), "requests are more than 20,000,000"),
        (("--rate", "0.001", "--duration", "1"), "no request is due within 1 s: raise --rate or --duration"),
    ],
)
def test_bad_options_are_named_with_the_fix(arguments, message):
    found = call("--url", "http://127.0.0.1:9", *arguments)
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.split())


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://"])
def test_a_bad_url_is_named(url):
    found = call("--url", url, "--rate", "5")
    assert (found.exit_code, "--url must be like http://HOST:PORT" in found.stderr) == (2, True)


def test_nobody_there():
    (port,) = free_ports(1)
    found = call("--url", f"http://127.0.0.1:{port}", "--rate", "5")
    assert found.exit_code == 1
    assert f"http://127.0.0.1:{port}/v1/models cannot be reached" in found.stderr
    assert "is the service up?" in found.stderr


async def answer(request):
    """Three tokens, as an engine streams them."""
    await request.stream(*[event(text(token_ids=[1]))] * 3, DONE)


async def test_an_unknown_model_lists_the_known_ones(serve):
    server, url = await serve(answer)
    found = await invoke("--url", url, "--model", "gpt-9", *FAST)
    assert found.exit_code == 2
    assert "--model gpt-9: the endpoint does not list it; it lists odd" in found.stderr
    assert server.calls == []


async def test_a_key_that_is_refused_is_named(serve):
    async def locked(request):
        allowed = request.headers.get("authorization") == "Bearer open sesame"
        await (answer(request) if allowed else request.reply(b'{"error": {"message": "no"}}', status="401 No"))

    server, url = await serve(locked)
    found = await invoke("--url", url, *FAST)
    assert found.exit_code == 1
    assert "http 401 (no); give a key with --api-key or OPENAI_API_KEY" in found.stderr
    assert len(server.calls) == 1
    assert (await invoke("--url", url, *FAST, env={"OPENAI_API_KEY": "open sesame"})).exit_code == 0
    assert (await invoke("--url", url, *FAST, "--api-key", "open sesame")).exit_code == 0


async def test_an_endpoint_that_knows_openais_fields_only(serve):
    """Also: how many tokens a word has is measured, and prompts are made to fit."""

    async def strict(request):
        body = json.loads(request.body)
        if "ignore_eos" in body or not isinstance(body["prompt"], str):
            await request.reply(b'{"error": {"message": "unknown field"}}', status="400 Bad")
            return
        words = len(body["prompt"].split())
        usage = {"choices": [], "usage": {"prompt_tokens": 2 * words + 5, "completion_tokens": 3}}
        await request.stream(event(text()), event(text()), event(usage), DONE)

    server, url = await serve(strict)
    found = await invoke("--url", f"{url}/v1/", "--rate", "20", "--duration", "1", "--prompt-tokens", "45")
    assert found.exit_code == 0, found.output
    assert "answers may be shorter than asked for" in found.output
    assert "a word of the prompts is 2.00 tokens, a prompt 5 more" in found.output
    assert "output tokens are counted by usage" in found.output
    assert {len(json.loads(each.body)["prompt"].split()) for each in server.calls[-5:]} == {20}


async def test_no_probe_sends_nothing_but_the_load(serve, tmp_path):
    server, url = await serve(answer)
    found = await invoke("--url", url, *FAST, "--probe-timeout", "0", "--out", tmp_path, "--header", "x-team: blue")
    report = json.loads((tmp_path / "result.json").read_text())
    assert found.exit_code == 0, found.output
    assert len(server.calls) == report["requests"]["sent"]
    assert {each.headers["x-team"] for each in server.calls} == {"blue"}


async def test_what_is_left_behind(serve, tmp_path):
    _server, url = await serve(answer)
    out = tmp_path / "a" / "b"
    found = await invoke(
        "--url", url, "--phase", "calm:1:10", "--phase", "burst:1:40", "--warmup", "250ms", "--ttft", "5s",
        "--out", out, "--save-requests", "--api-key", "secret", "--header", "x-secret: secret", "--seed", "3",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert {path.name for path in out.iterdir()} == {"result.json", "load.png", "requests.csv"}
    assert (out / "load.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((out / "result.json").read_text())
    meta = report["meta"]
    assert (meta["version"], meta["model"], meta["workload"]["seed"]) == (version("penstock"), "odd", 3)
    assert meta["command"].startswith("penstock load --url http://127.0.0.1")
    assert "--phase calm:1:10 --phase burst:1:40" in meta["command"]
    assert "secret" not in meta["command"].replace("x-secret", "")
    assert [phase["name"] for phase in report["phases"]] == ["calm", "burst"]
    assert report["requests"]["measured"] < report["requests"]["sent"]
    assert sum(report["series"]["sent"]) == report["requests"]["sent"]
    assert len((out / "requests.csv").read_text().splitlines()) == report["requests"]["sent"] + 1
    assert "TTFT (ms)" in found.output
    assert "TTFT ≤ 5000 ms, attainment" in found.output


async def test_check_fails_what_misses_or_fails(serve):
    async def picky(request):
        if len(server.calls) % 5 == 0:
            await request.reply(b'{"error": {"message": "full"}}', status="429 Full")
        else:
            await answer(request)

    server, url = await serve(picky)
    found = await invoke("--url", url, *FAST, "--probe-timeout", "0")
    assert found.exit_code == 0
    assert "refused: http 429: full" in found.output
    assert (await invoke("--url", url, *FAST, "--check", "--probe-timeout", "0")).exit_code == 3
    assert (await invoke("--url", url, *FAST, "--max-lag", "0", "--probe-timeout", "0")).exit_code == 3


async def test_a_trace_is_replayed(serve, tmp_path):
    server, url = await serve(answer)
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE)
    found = await invoke(
        "--url", url, "--trace", trace, "--start", "0.5", "--speed", "2", "--probe-timeout", "0", *LATE
    )
    assert found.exit_code == 0, found.output
    bodies = [json.loads(each.body) for each in server.calls]
    assert sorted(len(body["prompt"]) for body in bodies) == list(range(25, 40))
    assert {body["max_tokens"] for body in bodies} == {2, 3, 4, 5}


async def test_the_window_of_a_trace_is_what_is_measured(serve, tmp_path):
    """Nothing comes in its last part, which is part of the rate all the same."""
    _server, url = await serve(answer)
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE)
    window = ("--trace", trace, "--start", "1", "--end", "5", "--speed", "2", *LATE)
    found = await invoke("--url", url, *window, "--probe-timeout", "0", "--out", tmp_path, "--quiet")
    assert found.exit_code == 0, found.output
    report = json.loads((tmp_path / "result.json").read_text())
    assert report["meta"]["measured_seconds"] == 2.0
    assert report["rates"]["offered_requests_per_second"] == 5.0


async def test_a_hostile_model_name_harms_neither_terminal_nor_picture(serve, tmp_path):
    _server, url = await serve(answer)
    name = "a$\\frac$b\x1b]0;pwned\x07"
    arguments = ("--url", url, "--model", name, *FAST, "--probe-timeout", "0")
    found = await invoke(*arguments)
    assert found.exit_code == 2
    assert "\x1b" not in found.stderr
    assert "\\x1b]0;pwned\\x07: the endpoint does not list it" in found.stderr
    report = {"series": {key: [] for key in SERIES}, "meta": {"model": name, "url": url}, "objectives": {}}
    draw(report, tmp_path / "load.png")
    assert (tmp_path / "load.png").stat().st_size > 1000


def test_the_card_of_the_odd_server_is_a_list_of_models():
    assert [card["id"] for card in json.loads(CARD)["data"]] == ["odd"]
