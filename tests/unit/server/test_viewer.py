"""The server's pages as files: what is given for what, and that each holds to the policy it is sent with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from tests.unit.server.dialects.asking import Asker
from vcache.server.callers import NOBODY
from vcache.server.viewer import Viewer
from vcache.store.disk import DiskStore

PAGES = ("logs", "jobs")
REFERENCE = re.compile(r"""from "\./([^"]+)"|(?:src|href)="([^"#/][^"]*)\"""")
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org/2000/svg)"
    r"|<script>|<style| style=| on[a-z]+=\""
)  # what reads text as markup or code, asks elsewhere, or would be stopped by the policy


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Asker]:
    with closing(DiskStore(tmp_path / "store")) as store:
        yield Asker(Viewer(), store, tmp_path, caller=NOBODY)


def sources() -> list[tuple[str, str]]:
    places = [
        files(package).joinpath("page")
        for package in ("vcache.server", *(f"vcache.server.{page}" for page in PAGES))
    ]
    found = [
        (f"{each.parent.parent.name}/{each.name}", each.read_text())
        for place in places
        for each in Path(str(place)).iterdir()
    ]
    return sorted(found)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_given_to_everybody(ask: Asker, page: str) -> None:
    """Without a token, under a policy that runs nothing but its own; once more only when it changed."""
    reply = ask("GET", f"/{page}/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["content-security-policy"].startswith("default-src 'self'; base-uri 'none'")
    again = ask("GET", f"/{page}/", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    led = ask("GET", f"/{page}")
    assert (led.status, led.headers["location"]) == (308, f"/{page}/")
    assert ask("POST", f"/{page}/", b"x").status == 405
    assert ask("GET", f"/{page}/../viewer.py").status == 404


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_names_is_there(ask: Asker, page: str) -> None:
    """Its scripts, styles and icon, and what these name, of its own and of what pages share."""
    wanted, known = ["index.html"], set()
    while wanted:
        name = wanted.pop()
        if name in known:
            continue
        known.add(name)
        reply = ask("GET", f"/{page}/{name}")
        assert reply.status == 200, name
        wanted += [script or other for script, other in REFERENCE.findall(reply.body.decode())]
    assert {"app.js", "ask.js", "ansi.js", "base.css", "style.css", "icon.svg"} <= known


def test_nothing_in_pages_reads_text_as_markup() -> None:
    """Nor asks anybody else, nor has scripts and styles in places where the policy stops them."""
    found = [(name, line) for name, text in sources() for line in text.splitlines() if FORBIDDEN.search(line)]
    assert found == [], found
    assert len(sources()) > 20


def test_what_is_shared_is_there_once() -> None:
    """No page has a file of its own in place of one that pages share."""
    names = [name for name, _ in sources()]
    shared = {name.partition("/")[2] for name in names if name.startswith("server/")}
    assert shared
    assert [
        name for name in names if not name.startswith("server/") and name.partition("/")[2] in shared
    ] == []
