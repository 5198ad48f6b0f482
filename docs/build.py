"""Builds the pages that are made from code, and checks them all.

python docs/build.py                 # writes the generated pages
python docs/build.py --check         # says what is out of date, leads nowhere or does not run
python docs/build.py --check README.md docs/tutorial/first-build.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import gen_api
import gen_server_settings
import gen_settings
from pages import ROOT, broken_links, pages
from snippets import failure, has_snippets

# Made by a program of its own, which takes --check as well.
COMMAND_PAGE: Final = ROOT / "docs/gen_cli.py"

GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    **gen_api.PAGES,
    "docs/reference/settings.md": gen_settings.settings,
    "docs/reference/server-settings.md": gen_server_settings.settings,
}


def write() -> None:
    """Bring the generated pages up to date."""
    for name, make in GENERATED.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    if COMMAND_PAGE.exists():
        subprocess.run([sys.executable, str(COMMAND_PAGE)], check=True)


def outdated() -> Iterator[str]:
    """One sentence for each generated page that is not what would be written."""
    for name, make in GENERATED.items():
        path = ROOT / name
        if not path.exists() or path.read_text("utf-8") != make():
            yield f"{name}: out of date: run `python docs/build.py`"
    if COMMAND_PAGE.exists():
        done = subprocess.run(
            [sys.executable, str(COMMAND_PAGE), "--check"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield f"{(done.stdout + done.stderr).strip()}: run `python docs/build.py`"


def problems(chosen: list[Path]) -> Iterator[str]:
    """Everything that is wrong with some pages."""
    for page in chosen:
        yield from broken_links(page)
    running = [page for page in chosen if has_snippets(page)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for page, went_wrong in zip(running, pool.map(failure, running), strict=True):
            if went_wrong is not None:
                yield f"{page.relative_to(ROOT)}: a snippet fails:\n{went_wrong.rstrip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the generated pages, or check all pages.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if something is wrong"
    )
    parser.add_argument("pages", nargs="*", type=Path, help="check these only")
    given = parser.parse_args()
    if not given.check:
        write()
        return 0
    chosen = [page.resolve() for page in given.pages] or pages()
    found = [*(() if given.pages else outdated()), *problems(chosen)]
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(chosen)} pages checked, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
