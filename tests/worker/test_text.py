"""Text comes out whole, whatever the tokens split, and never contains a stop string."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_lab.model import TinyModel, make_tiny
from penstock_worker.errors import CheckpointError, RequestError
from penstock_worker.text import Detokenizer, Text

MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi & <b>"}]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Text:
    folder = tmp_path_factory.mktemp("text")
    make_tiny(folder, TinyModel(layers=1))
    loaded = Text.load(folder)
    assert loaded is not None
    return loaded


def stream(text: Text, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[str, bool, list[str]]:
    detokenizer = Detokenizer(text, stop)
    parts = []
    for token in ids:
        parts.append(detokenizer.push(token))
        if detokenizer.stopped:
            return "".join(parts), True, parts
    parts.append(detokenizer.finish())
    return "".join(parts), detokenizer.stopped, parts


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_streamed_text_is_the_text(text, original):
    ids = text.encode(original)
    assert text.decode(ids) == original
    whole, _stopped, parts = stream(text, ids)
    assert whole == original
    assert not any("\ufffd" in part for part in parts if "\ufffd" not in original)


@given(st.lists(st.integers(0, 500), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_tokens_come_out_as_decoded_at_once(text, ids):
    """Random tokens are rarely text; broken characters may be cut differently, everything else must agree."""
    whole, _stopped, _parts = stream(text, ids)
    assert whole.replace("\ufffd", "") == text.decode(ids).replace("\ufffd", "")


@given(
    st.text(alphabet="abc\u00e9\u20ac", max_size=30),
    st.lists(st.text(alphabet="abc\u00e9", min_size=1, max_size=3), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_text_ends_before_the_first_stop_string(text, original, stop):
    whole, stopped, _parts = stream(text, text.encode(original), tuple(stop))
    cuts = [original.find(string) for string in stop if string in original]
    assert stopped == bool(cuts)
    if not cuts:
        assert whole == original
        return
    # Which of several overlapping strings is complete first depends on the tokens; none may be in the text.
    assert original.startswith(whole)
    assert not any(string in whole for string in stop)
    assert len(whole) >= min(cuts)


def test_special_tokens_are_not_text(text):
    assert text.decode([0, *text.encode("gate"), 2]) == "gate"


def test_chat_uses_the_checkpoints_template(text):
    ids = text.chat(MESSAGES)
    assert ids[0] == 1  # <|im_start|>, one token
    assert text.decode(ids) == "system\nBe short.\nuser\nHi & <b>\nassistant\n"


def test_chat_equals_transformers(qwen):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(qwen)
    wanted = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    loaded = Text.load(qwen)
    assert loaded is not None
    assert loaded.chat(MESSAGES) == loaded.encode(wanted, special=False)
    assert loaded.encode("The gate, the gate") == tokenizer("The gate, the gate")["input_ids"]


@pytest.fixture
def folder(qwen, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(qwen / name, tmp_path / name)
    return tmp_path


def set_template(folder, template) -> Text:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = Text.load(folder)
    assert loaded is not None
    return loaded


def test_plain_layout_without_a_template(folder):
    plain = set_template(folder, None)
    assert plain.decode(plain.chat(MESSAGES)) == "system: Be short.\nuser: Hi & <b>\nassistant:"


def test_template_file_goes_before_settings(folder):
    (folder / "chat_template.jinja").write_text("{{ messages | tojson }}")
    loaded = set_template(folder, "other")
    assert json.loads(loaded.decode(loaded.chat(MESSAGES))) == MESSAGES


def test_template_that_refuses_is_a_bad_request(folder):
    loaded = set_template(folder, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RequestError, match="roles must alternate"):
        loaded.chat(MESSAGES)


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", "{}"), ("tokenizer_config.json", "{"), ("chat_template.jinja", "{% for")]
)
def test_broken_files_are_named(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=name if "jinja" not in name else "chat template"):
        Text.load(folder)


def test_no_tokenizer_is_no_text(tmp_path):
    assert Text.load(tmp_path) is None
    assert Detokenizer(None).push(5) == ""
