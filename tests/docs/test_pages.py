"""What the pages say holds together: links and anchors lead somewhere, named commands exist, manifests are accepted."""

import re
from collections.abc import Callable

import click
import pytest
import yaml

from pages import ROOT, Block, Page, pages
from penstock_operator.cli import main
from visitor import matches, transcript

EVERYWHERE = ("README.md", "docs/**/*.md", "examples/*.md", "charts/*/*.md")


def manifests() -> list[tuple[Block, dict]]:
    found = []
    for page in pages(*EVERYWHERE):
        for block in page.blocks:
            if block.language == "yaml":
                found += [(block, item) for item in yaml.safe_load_all(block.text) if item]
    return [(block, item) for block, item in found if item.get("kind") == "InferenceService"]


@pytest.mark.parametrize("page", pages(*EVERYWHERE), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page):
    for link in page.links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), f"{page.name}: {link}"
            continue
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.is_relative_to(ROOT), f"{page.name}: {link} leaves the repository"
        assert path.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in Page(path).anchors, f"{page.name}: no heading for {link}"


@pytest.mark.parametrize("page", pages(*EVERYWHERE), ids=lambda page: page.name)
def test_commands_in_running_text_exist(page: Page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    context = click.Context(main)
    for code in page.inline_code:
        if found := re.match(r"(?:[A-Z]+=\S+ )?make ([a-z-]+)", code):
            assert found[1] in targets, f"{page.name}: `{code}`"
        if found := re.match(r"(?:\.venv/bin/)?penstock ([a-z-]+)(?: ([a-z-]+))?", code):
            command = main.get_command(context, found[1])
            assert command is not None, f"{page.name}: `{code}`"
            if isinstance(command, click.Group) and found[2]:
                assert command.get_command(context, found[2]) is not None, f"{page.name}: `{code}`"


def test_every_cell_of_the_comparison_has_its_source():
    (table,) = Page(ROOT / "docs" / "comparison.md").tables
    head, *rows = table
    assert len(rows) >= 10
    for row in rows:
        for column, cell in zip(head[1:], row[1:], strict=True):
            links = [child for child in cell.children or () if child.type == "link_open"]
            assert links, f"{row[0].content} / {column.content}: no source"


@pytest.mark.cluster
def test_every_inference_service_is_accepted_by_the_api_server(kubectl: Callable[..., str], crd: None):
    assert manifests()
    for block, manifest in manifests():
        said = kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(manifest))
        assert "(server dry run)" in said, block.place


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("NAME READY\nchat True", "NAME   READY\nchat   True\n", True),
        ("pod/chat-… condition met", "pod/chat-6b5-x condition met", True),
        ("first\n…\nlast", "first\nsecond\nthird\nlast", True),
        ("first\n…\nlast", "first\nlast", True),
        ("first", "first\nsecond", False),
        ("first\n…\nlast", "first\nsecond", False),
        ("chat True", "chat False", False),
        ("chat … Ready …", "chat True 1 Ready 5s", True),
        ("chat … Ready …", "chat Ready", True),
        ("chat … Ready", "chat True Unready", False),
    ],
)
def test_shown_output_is_compared(expected: str, printed: str, *, same: bool):
    assert matches(expected, printed) is same


def test_what_kubectl_logs_is_not_compared():
    watch = 'I1121 21:46:05.082528   14648 reflector.go:664] "Warning: watch ended with error" err="context canceled"'
    assert matches("chat condition met", f"{watch}\nchat condition met\n")
    assert matches("chat condition met", f"chat condition met\n{watch}")
    for said in ("error: timed out waiting", "I1121 reflector.go:664] no time", f"E {watch}", f"chat {watch}"):
        assert not matches("chat condition met", f"{said}\nchat condition met\n"), said


def test_numbers_may_vary_where_the_page_says_so():
    expected = "offered 12.43 requests/s, 1 -> 2 at 19:35:22Z"
    assert matches(expected, "offered 9.90 requests/s, 3 -> 10 at 07:00:01Z", numbers=False)
    assert not matches(expected, "offered 9.90 requests/s, 3 -> 10 at 07:00:01Z")
    assert not matches(expected, "offered ? requests/s, 3 -> 10 at 07:00:01Z", numbers=False)


def test_a_transcript_is_commands_with_what_they_print():
    text = "$ kubectl get infsvc\nNAME\nchat\n$ curl \\\n>   -d '{}'\n$ penstock cluster down\ndone\n"
    assert transcript(text) == [
        ("kubectl get infsvc", "NAME\nchat"),
        ("curl \\\n  -d '{}'", ""),
        ("penstock cluster down", "done"),
    ]


def test_a_page_is_read_as_it_is_shown(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """The instruments of these tests, on a page that has everything."""
    monkeypatch.setattr("pages.ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(
        "<!-- commands: on a cluster -->\n# A `tidy` page!\n\n[there](#a-tidy-page)\n\n"
        "<!-- not run: asks\nfor a GPU -->\n```sh\nmake\n```\n\n    indented\n\n"
        "## Twice\n\n## Twice\n\n| a | b |\n|---|---|\n| 1 | [2](x) |\n"
    )
    page = Page(path)
    assert page.setting == "on a cluster"
    assert [(block.language, block.marker) for block in page.blocks] == [
        ("sh", ("not run", "asks for a GPU")),
        ("", ("", "")),
    ]
    assert page.anchors == {"a-tidy-page", "twice", "twice-1"}
    assert page.links == ["#a-tidy-page", "x"]
    assert [[cell.content for cell in row] for row in page.tables[0]] == [["a", "b"], ["1", "[2](x)"]]
