"""Trace files of every format become the same kind of requests, cut and scaled as asked; bad ones say where and why."""

import gzip
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_lab.traces import servegen
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest, arrays
from penstock_lab.traces.source import FORMATS, Source, detect, in_order

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-17 00:17:03.9799600,110,0
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00.001163+00:00,2162,5
2024-05-12 00:00:01+00:00,2399,6
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
9,a,2.5,GPT-4,12,34,46,API log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 3052, "input_length": 20, "output_length": 0, "hash_ids": []}

{"timestamp": 4000, "input_length": 7, "output_length": 2}
"""
ARRIVALS = """arrival_s,prompt_tokens,output_tokens,client,hash_ids
0.16,253,26,56,0 1 2
7.5,332,257,57,
"""
TIMESTAMPS = """timestamp,prompt_tokens,output_tokens
1700000000.5,10,20
1700000002,30,40
"""
DATES = """timestamp,prompt_tokens,output_tokens,model
2024-05-12T00:00:00+02:00,10,20,a
2024-05-12T00:01:00.25+02:00,30,40,b
"""

SAMPLES = {
    "azure of 2023": (
        "azure",
        AZURE_2023,
        [TraceRequest(0, 4808, 10), TraceRequest(0.052, 3180, 8), TraceRequest(21600, 110, 1)],
    ),
    "azure of 2024": ("azure", AZURE_2024, [TraceRequest(0, 2162, 5), TraceRequest(0.998837, 2399, 6)]),
    "burstgpt": (
        "burstgpt",
        BURSTGPT,
        [TraceRequest(0, 472, 18, model="ChatGPT"), TraceRequest(113, 417, 276, model="GPT-4")],
    ),
    "burstgpt with sessions": ("burstgpt", BURSTGPT_SESSIONS, [TraceRequest(0, 12, 34, model="GPT-4")]),
    "mooncake": (
        "mooncake",
        MOONCAKE,
        [TraceRequest(0, 6755, 500, hash_ids=(0, 1)), TraceRequest(3.052, 20, 1), TraceRequest(4, 7, 2)],
    ),
    "arrivals": (
        "csv",
        ARRIVALS,
        [TraceRequest(0.16, 253, 26, hash_ids=(0, 1, 2), client="56"), TraceRequest(7.5, 332, 257, client="57")],
    ),
    "timestamps": ("csv", TIMESTAMPS, [TraceRequest(0, 10, 20), TraceRequest(1.5, 30, 40)]),
    "dates": ("csv", DATES, [TraceRequest(0, 10, 20, model="a"), TraceRequest(60.25, 30, 40, model="b")]),
}


def written(folder: Path, text: str, name: str = "trace") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def same(found: list[TraceRequest], wanted: list[TraceRequest]) -> bool:
    return len(found) == len(wanted) and all(
        abs(one.arrival_seconds - other.arrival_seconds) < 1e-5
        and (one.prompt_tokens, one.output_tokens, one.hash_ids, one.model, one.client)
        == (other.prompt_tokens, other.output_tokens, other.hash_ids, other.model, other.client)
        for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_format_is_recognised_and_read(sample, packed, tmp_path):
    name, text, wanted = SAMPLES[sample]
    path = tmp_path / "some.file"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert detect(path) == name
    assert same(list(Source(path=path).requests()), wanted)
    assert same(list(Source(path=path, format=name).requests()), wanted)


@pytest.mark.parametrize("text", [ARRIVALS, TIMESTAMPS], ids=["arrivals", "timestamps"])
@pytest.mark.parametrize("name", ["azure", "burstgpt", "mooncake", "servegen"])
def test_a_table_in_our_columns_may_be_called_by_the_name_of_its_trace(text, name, tmp_path):
    path = written(tmp_path, text)
    assert list(Source(path=path, format=name).requests()) == list(Source(path=path, format="csv").requests())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "timestamp,prompt_tokens,output_tokens"),
        ("time,in,out\n1,2,3\n", "none of the formats azure, burstgpt, mooncake"),
        (TIMESTAMPS + "soon,1,2\n", ":4: timestamp must be a number, got 'soon'"),
        (TIMESTAMPS + "1700000003,-1,2\n", ":4: prompt_tokens must be a count"),
        (TIMESTAMPS + "1700000003,1\n", ":4: output_tokens must be a number, got ''"),
        (AZURE_2024 + "yesterday,1,2\n", ":4: timestamp must be a date"),
        (MOONCAKE + '{"timestamp": 1}\n', ":5: input_length must be a number"),
        (MOONCAKE + "{nonsense\n", ":5: not JSON"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}\n', "hash_ids must be"),
        (ARRIVALS + "9,1,2,c,x y\n", ":4: hash_ids must be whole numbers"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, message, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as raised:
        list(Source(path=path).requests())
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_wrong_format_names_the_column_that_is_missing(tmp_path):
    with pytest.raises(TraceError, match="the header must have contexttokens, generatedtokens; it has timestamp"):
        list(Source(path=written(tmp_path, BURSTGPT), format="azure").requests())
    with pytest.raises(TraceError, match="No such file"):
        list(Source(path=tmp_path / "gone").requests())
    broken = tmp_path / "broken.gz"
    rows = "".join(f"{at},{at * at % 97 + 1},7\n" for at in range(9000))
    broken.write_bytes(gzip.compress((TIMESTAMPS + rows).encode())[:-900])
    with pytest.raises(TraceError, match="not a CSV file"):
        list(Source(path=broken).requests())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "parquet"}, "format must be auto or one of azure"),
        ({"start": 5.0, "end": 5.0}, "must come after start"),
        ({"rate_scale": 0.0}, "must be above 0"),
        ({"speed": -1.0}, "must be above 0"),
    ],
)
def test_wrong_wishes_are_refused(wrong, message):
    with pytest.raises(TraceError, match=message):
        Source(path=Path("any"), **wrong)
    assert "auto" not in FORMATS


@pytest.fixture(scope="module")
def steady(tmp_path_factory) -> Path:
    """A request every tenth of a second for a thousand seconds."""
    rows = "".join(f"{number / 10},{number % 50 + 1},7\n" for number in range(10_000))
    return written(tmp_path_factory.mktemp("steady"), "arrival_s,prompt_tokens,output_tokens\n" + rows)


def test_cut_and_speed(steady):
    found = list(Source(path=steady, start=100, end=200, speed=10).requests())
    assert len(found) == 1000
    assert (found[0].arrival_seconds, found[-1].arrival_seconds) == (0.0, pytest.approx(9.99))
    assert found[0].prompt_tokens == 1000 % 50 + 1


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.7, 3.0])
def test_rate_scale_keeps_the_clock(steady, scale):
    found = list(Source(path=steady, rate_scale=scale, seed=3).requests())
    assert len(found) == pytest.approx(10_000 * scale, rel=0.05)
    assert all(one.arrival_seconds <= other.arrival_seconds for one, other in pairwise(found))
    half = sum(request.arrival_seconds < 500 for request in found)
    assert half == pytest.approx(len(found) / 2, rel=0.1)
    assert found == list(Source(path=steady, rate_scale=scale, seed=3).requests())
    if scale != 3.0:
        assert found != list(Source(path=steady, rate_scale=scale, seed=4).requests())


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(40)))
def test_small_disorder_is_put_right(order):
    stream = [TraceRequest(float(at), 1, 1) for at in order]
    assert [request.arrival_seconds for request in in_order(stream, Path("any"))] == [float(at) for at in range(40)]


def test_great_disorder_is_refused(tmp_path):
    stream = [TraceRequest(float(at), 1, 1) for at in (*range(1, 3000), 0)]
    with pytest.raises(TraceError, match="request 3000 comes before those far above it; sort the file by time"):
        list(in_order(stream, Path("any")))


def test_reading_holds_few_requests(steady):
    stream = Source(path=steady).requests()
    assert next(stream).arrival_seconds == 0.0
    stream.close()


def test_arrays(tmp_path):
    found = arrays(Source(path=written(tmp_path, MOONCAKE)).requests())
    assert len(found) == 3
    assert found.arrival_seconds.tolist() == [0.0, 3.052, 4.0]
    assert found.prompt_tokens.tolist() == [6755, 20, 7]
    assert [found.hashes(number).tolist() for number in range(3)] == [[0, 1], [], []]
    assert arrays([]).hashes(0).tolist() == []
    assert arrays([TraceRequest(1.0, 2, 3)]).hashes(0).tolist() == []


GRID = "0 0.5 1"
CLIENTS = """t_s,client,rate_rps,iat_cv,pattern,shape,scale
600,a,0.5,,,,
0,a,2.0,8.6,Weibull,0.4,0.4
0,b,1.0,1.0,Gamma,1.0,1.0
"""
LENGTHS = """t_s,client,prompt_mean,output_mean,prompt_q,output_q
0,a,200,20,100 200 300,10 20 30
"""


def aggregates(folder: Path, *, grid: str = GRID, lengths: str = LENGTHS) -> Path:
    written(folder, grid, "servegen_quantile_grid.txt")
    written(folder, lengths, "m_lengths_6h_wk1.csv")
    return written(folder, CLIENTS, "m_clients_600s_wk1.csv")


def test_servegen_is_drawn_from_its_aggregates(tmp_path):
    path = aggregates(tmp_path)
    assert detect(path) == "servegen"
    found = list(Source(path=path, seed=1).requests())
    early = [request for request in found if request.arrival_seconds < 600]
    assert len(early) == 1800
    assert len(found) == 2100
    assert sum(request.client == "b" for request in found) == 600
    assert all(one.arrival_seconds <= other.arrival_seconds for one, other in pairwise(found))
    assert {100 <= request.prompt_tokens <= 300 and 10 <= request.output_tokens <= 30 for request in found} == {True}
    late = list(Source(path=path, seed=1, start=600).requests())
    assert [request.prompt_tokens for request in late] == [request.prompt_tokens for request in found[1800:]]
    assert len(list(Source(path=path, seed=1, rate_scale=0.1).requests())) == 210
    assert found != list(Source(path=path, seed=2).requests())


def test_windows_before_the_start_are_not_drawn(tmp_path, monkeypatch):
    path, arrivals, drawn = aggregates(tmp_path), servegen._arrivals, []
    monkeypatch.setattr(servegen, "_arrivals", lambda client, *rest: drawn.append(client) or arrivals(client, *rest))
    list(Source(path=path).requests())
    everywhere = len(drawn)
    list(Source(path=path, start=600).requests())
    assert 0 < len(drawn) - everywhere < everywhere


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grid": "0 1"}, "prompt_q must be 2 numbers"),
        ({"grid": "zero"}, "quantile grid beside the aggregates"),
        ({"lengths": LENGTHS.replace("\n0,", "\n21600,")}, "has no client at t_s 0"),
        ({"lengths": "t_s,client\n"}, "the header must have prompt_q, output_q"),
    ],
)
def test_servegen_says_which_file_is_wrong(wrong, message, tmp_path):
    with pytest.raises(TraceError, match=message):
        list(Source(path=aggregates(tmp_path, **wrong)).requests())


REAL = os.environ.get("PENSTOCK_TRACES")


@pytest.mark.skipif(REAL is None, reason="PENSTOCK_TRACES does not name a folder of public traces")
@pytest.mark.parametrize(
    ("file", "count", "prompt", "output"),
    [
        ("azure2023_code.csv.gz", 8_819, 2047, 27),
        ("azure2023_conv.csv.gz", 19_366, 1154, 211),
        ("mooncake_conversation.csv.gz", 12_031, 12035, 342),
    ],
)
def test_real_traces(file, count, prompt, output):
    found = arrays(Source(path=Path(REAL or "") / file).requests())
    assert len(found) == count
    assert found.prompt_tokens.mean() == pytest.approx(prompt, abs=1)
    assert found.output_tokens.mean() == pytest.approx(output, abs=1)


@pytest.mark.skipif(REAL is None, reason="PENSTOCK_TRACES does not name a folder of public traces")
def test_real_aggregates():
    """Production's m-large in an hour, drawn at a hundredth of its rate."""
    path = Path(REAL or "") / "servegen_m_large_clients_600s_wk1.csv.gz"
    found = arrays(Source(path=path, start=0, end=3600, rate_scale=0.01).requests())
    assert 1.0 < len(found) / 3600 < 4.0
    assert 100 < found.prompt_tokens.mean() < 2000
