import json
from pathlib import Path

import pytest

from penstock_contract.profile import Profile, ProfileError, load_profile, reference_names

REFERENCES = {
    "llama70b-fp8-tp4-h100", "llama70b-fp8-tp8-h100", "llama70b-fp8-tp4-h200", "llama8b-bf16-tp1-h100",
    "qwen3-32b-bf16-tp2-h100", "llama70b-bf16-tp4-a100", "llama8b-bf16-tp1-l40s", "qwen3-32b-fp8-tp1-h100",
}  # fmt: skip


def test_all_reference_replicas_ship_and_load() -> None:
    assert set(reference_names()) == REFERENCES
    for name in reference_names():
        profile = load_profile(name)
        assert profile.name == name
        assert 0.005 < profile.model.c0 < 0.05, "seconds, not milliseconds"
        assert Profile.from_json(profile.to_json()) == profile


def test_a_file_is_loaded_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(load_profile("llama8b-bf16-tp1-h100").to_json() | {"name": "mine"}))
    assert load_profile(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c0": None}, "c0 must be a number of seconds"),
        ({"c0": -1}, "c0 must be a number of seconds"),
        ({"cB": "fast"}, "cB must be a number of seconds"),
        ({"kv_tokens": 0}, "kv_tokens must be a positive integer"),
        ({"max_num_seqs": 1.5}, "max_num_seqs must be a positive integer"),
        ({"name": ""}, "name must be a non-empty string"),
        ({"extra": 1}, "unknown extra"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(load_profile("llama8b-bf16-tp1-h100").to_json() | change))
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(str(path))
    assert str(path) in str(caught.value)


def test_a_missing_field_a_missing_file_and_no_json_say_so(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ProfileError, match="no such file"):
        load_profile(str(path))
    path.write_text("{")
    with pytest.raises(ProfileError, match="not JSON"):
        load_profile(str(path))
    path.write_text('{"name": "x"}')
    with pytest.raises(ProfileError, match="missing c0"):
        load_profile(str(path))
    path.write_text("[]")
    with pytest.raises(ProfileError, match="is a JSON object"):
        load_profile(str(path))
