"""The checks of the documentation: each of them can fail."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, ModuleType]]:
    """The modules beside the pages, which are programs and no package."""
    names = ("pages", "snippets", "gen_api", "gen_settings")
    sys.path.insert(0, str(DOCS))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(DOCS))
        for name in names:
            sys.modules.pop(name, None)


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[here](page.md), [top](#the-top) and [away](https://example.org/nothing)\n\n# The top", None),
        ("[gone](gone.md)", "page.md:1: gone.md: there is no such file"),
        ("\n[a part](page.md#nowhere)", "page.md:2: page.md#nowhere: page.md has no heading of that name"),
        ("see docs/gone.md", "page.md:1: docs/gone.md: there is no such file"),
        ("```text\n[gone](gone.md)\n```", None),
    ],
)
def test_a_link_that_leads_nowhere_is_found(
    tools: dict[str, ModuleType], tmp_path: Path, text: str, complaint: str | None
) -> None:
    """A relative link needs its file and its heading; other sites and fenced text are left alone."""
    found = list(tools["pages"].broken_links(page(tmp_path, text), tmp_path))
    assert found == ([] if complaint is None else [complaint])


PYTHON = "```python\nnumber = 6\nprint(number * 7)\n```\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PYTHON + "```python\nassert number == 6\n```\n", None),
        (PYTHON + "```python no-run\nraise ValueError\n```\n", None),
        (PYTHON + "```text output\n42\n```\n", None),
        (PYTHON + "```text output\n43\n```\n", "page.md:6: it printed\n42"),
        (PYTHON + "```python\nraise ValueError('wrong')\n```\n", 'page.py", line 6, in <module>'),
        ("```text file=a.txt\nhello\n```\n```console run\n$ cat a.txt\nhello\n```\n", None),
        ("```console run\n$ echo one; echo 1.5 s; echo two\n…\n3 s\ntwo\n```\n", None),
        (
            "```console run\n$ echo one\ntwo\n```\n",
            "page.md:2: $ echo one\nexit status 0; it printed\n    one",
        ),
        ("```console run\n$ false\n```\n", "page.md:2: $ false\nexit status 1"),
        ("```console run\n$ export A=1 && mkdir d && cd d\n$ echo $A $(basename $PWD)\n1 d\n```\n", None),
        ("```console\n$ false\n```\n" + PYTHON, None),
    ],
)
def test_a_snippet_that_fails_is_found(
    tools: dict[str, ModuleType], tmp_path: Path, text: str, complaint: str | None
) -> None:
    """Blocks run in order and in one place; what fails or prints something else is shown with its line."""
    found = tools["snippets"].failure(page(tmp_path, text))
    if complaint is None:
        assert found is None
    else:
        assert found is not None
        assert complaint in found


def test_a_fence_that_is_never_closed_is_an_error(tools: dict[str, ModuleType]) -> None:
    """Half a page would be taken for code."""
    with pytest.raises(ValueError, match="line 2 is never closed"):
        list(tools["pages"].blocks("text\n```python\npass\n"))


def test_every_public_name_has_a_place_in_the_reference(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name in `vcache.__all__` that no page shows stops the build."""
    import vcache

    assert "### Cache\n" in tools["gen_api"].api()
    monkeypatch.setattr(vcache, "__all__", [*vcache.__all__, "brand_new"])
    with pytest.raises(ValueError, match="no place for brand_new"):
        tools["gen_api"].api()


def test_settings_are_all_on_their_page(tools: dict[str, ModuleType]) -> None:
    """Each key has its row, with its variable."""
    from vcache.config import KEYS

    text = tools["gen_settings"].settings()
    assert all(f"| `{key}` | `VCACHE_{key.upper()}` |" in text for key in KEYS)


def test_a_page_that_is_tried_by_hand_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its snippets run in a directory of their own, not where somebody stands"""
    text = PYTHON + "```console run\n$ echo x > left\n```\n```text output\n43\n```\n"
    wrong = page(tmp_path, text)
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, str(DOCS / "snippets.py"), str(wrong)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "it printed\n42" in done.stderr
    assert not list(here.iterdir())
