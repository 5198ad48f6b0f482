"""The pages of the documentation: which there are, what stands in them, whether their links lead anywhere.

Knows Markdown as far as these pages use it; runs nothing and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Block", "blocks", "broken_links", "pages"]

ROOT: Final = Path(__file__).resolve().parent.parent

_FENCE: Final = re.compile(r"(`{3,})(.*)")
_LINK: Final = re.compile(r"!?\[(?:[^\]`]|`[^`]*`)*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_MENTION: Final = re.compile(r"(?<![\w/.])(?:docs|benchmarks|src|tests)/[\w/.-]*\w\.(?:md|py|toml)\b")
_HEADING: Final = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_ANCHOR: Final = re.compile(r'<a (?:id|name)="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: number of the line behind the opening fence, from 1.
        language: the first word of the fence.
        words: what follows it: "run", "no-run", "file=NAME".
        text: the lines between the fences.
    """

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block is to be written to."""
        return next((word[5:] for word in self.words if word.startswith("file=")), None)


def pages(root: Path = ROOT) -> list[Path]:
    """All Markdown pages that people are meant to read, sorted."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("benchmarks/**/*.md")]
    return sorted(page for page in found if "target" not in page.parts)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page's text, in order.

    Raises:
        ValueError: a fence that is never closed.
    """
    fence, start, info, inside = "", 0, "", [""]
    for number, line in enumerate(text.splitlines(), 1):
        if not fence:
            if opened := _FENCE.match(line):
                fence, info, start, inside = opened[1], opened[2], number + 1, []
        elif line.rstrip() == fence:
            language, *words = info.split() or [""]
            yield Block(start, language, tuple(words), "".join(f"{one}\n" for one in inside))
            fence = ""
        else:
            inside.append(line)
    if fence:
        raise ValueError(f"the fence in line {start - 1} is never closed")


def broken_links(page: Path, root: Path = ROOT) -> Iterator[str]:
    """One sentence for each relative link or mention of a file that leads nowhere."""
    for number, line in _prose(page.read_text("utf-8")):
        for target in _LINK.findall(line):
            if problem := _problem(page, target):
                yield f"{page.relative_to(root)}:{number}: {target}: {problem}"
        for name in _MENTION.findall(_LINK.sub("", line)):
            if not any((base / name).exists() for base in (root, root / "src/vcache", page.parent)):
                yield f"{page.relative_to(root)}:{number}: {name}: there is no such file"


def _problem(page: Path, target: str) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None  # another site: looking there would make the check depend on it
    name, _, anchor = target.partition("#")
    path = page if not name else (page.parent / name)
    if not path.exists():
        return "there is no such file"
    if anchor and path.suffix == ".md" and anchor not in _anchors(path.read_text("utf-8")):
        return f"{path.name} has no heading of that name"
    return None


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines outside of fences."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        marked = _FENCE.match(line)
        if not fence and marked:
            fence = marked[1]
        elif fence and line.rstrip() == fence:
            fence = ""
        elif not fence:
            yield number, line


def _anchors(text: str) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    found: set[str] = set(_ANCHOR.findall(text))
    for _, line in _prose(text):
        if heading := _HEADING.match(line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = base = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            count = 0
            while slug in found:
                count += 1
                slug = f"{base}-{count}"
            found.add(slug)
    return found
