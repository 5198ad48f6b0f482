"""Runs the snippets of a page, as its reader would: in order, in one place, in an empty directory.

    ```python            runs, in one namespace with the page's other Python blocks
    ```python no-run     a fragment, only shown
    ```text output       what the Python block before it printed
    ```c file=hello.c    is written to a file, whatever the language
    ```console run       each line that begins with "$ " runs in bash; what it prints has to be the lines below

`python docs/snippets.py PAGE…` runs those of some pages.

What is printed is compared with times, sizes and digests set aside; "…" stands for anything in a
line and, alone, for any number of lines. A page that speaks of docs/examples/calc finds a copy there.

Knows nothing of what the pages are about.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from pages import ROOT, Block, blocks

__all__ = ["failure", "has_snippets"]

_EXAMPLE: Final = "docs/examples/calc"
_TIMEOUT_S: Final = 120
_HERE: Final = "--here"  # the directory is a new one, made for this
# What a command exports, and where it goes, holds for the commands after it.
_IN_ONE_SHELL: Final = """\
[ -e ../shell ] && . ../shell
{command}
status=$?
state=$(export -p; printf 'cd %q\\n' "$PWD")
cd {start} && echo "$state" > ../shell
exit $status
"""
_VOLATILE: Final = (
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<digest>"),
    (re.compile(r"\b\d[\d.,]* ?(?:ns|µs|ms|s|min|m|h|d|w)\b(?: \d+(?:s|m|h|d)\b)*"), "<time>"),
    (re.compile(r"\b\d[\d.,]* ?(?:B|[kMGT]i?B)\b"), "<size>"),
    (re.compile(r"^ +| {2,}"), "  "),  # columns are as wide as what was set aside
)


def has_snippets(page: Path) -> bool:
    """Whether something of a page runs."""
    return any(_runs(block) for block in blocks(page.read_text("utf-8")))


def failure(page: Path) -> str | None:
    """What went wrong in running a page's snippets, or None."""
    with tempfile.TemporaryDirectory(prefix="vcache-docs-") as place:
        directory = Path(os.path.realpath(place), "work")
        directory.mkdir()
        if _EXAMPLE in page.read_text("utf-8"):
            skip = shutil.ignore_patterns("target", ".vcache", "__pycache__")
            shutil.copytree(ROOT / _EXAMPLE, directory / _EXAMPLE, ignore=skip)
        command = [sys.executable, "-W", "error", __file__, _HERE, str(page.resolve())]
        try:
            done = subprocess.run(
                command, cwd=directory, env=_environment(directory.parent), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"did not end within {_TIMEOUT_S} s"
    return None if done.returncode == 0 else (done.stderr or done.stdout)


def _runs(block: Block) -> bool:
    return (block.language == "python" and "no-run" not in block.words) or (
        block.language == "console" and "run" in block.words
    )


def _is_output(block: Block) -> bool:
    return block.language == "text" and "output" in block.words


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the user's own settings, and `python` and `vcache` as here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "XDG_"))}
    path = os.pathsep.join((os.path.dirname(sys.executable), kept.get("PATH", os.defpath)))
    return kept | {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "100"}


# -- inside the child ---------------------------------------------------------------------------


def _run_page(page: Path) -> None:
    """Run a page here: its Python blocks in a module that stands for `__main__`."""
    module = ModuleType("__main__")
    module.__file__ = str(Path.cwd() / "page.py")
    sys.modules["__main__"] = module
    sys.path.insert(0, os.getcwd())  # a page's files can be imported
    printed = io.StringIO()
    for code in _steps(page):
        if isinstance(code, CodeType):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, vars(module))
        elif code.file is not None:
            Path(code.file).parent.mkdir(parents=True, exist_ok=True)
            Path(code.file).write_text(code.text)
        elif code.language == "console":
            _run_console(page, code)
        elif not _is_alike(code.text.splitlines(), printed.getvalue().splitlines()):
            sys.exit(f"{page}:{code.line}: it printed\n{printed.getvalue()}")


def _steps(page: Path) -> Iterator[CodeType | Block]:
    """What is to be done, in order. Python keeps the numbers of the page's lines, for tracebacks."""
    found = [
        block for block in blocks(page.read_text("utf-8")) if _runs(block) or block.file or _is_output(block)
    ]
    lines: dict[int, str] = {}
    for block in found:
        if block.language == "python" and not block.file:
            lines |= dict(enumerate(block.text.splitlines(), block.line))
    source = [lines.get(number, "") for number in range(1, max(lines, default=0) + 1)]
    # Functions are looked up in their source file, where decorators stand.
    Path("page.py").write_text("\n".join(source) + "\n")
    for block in found:
        if block.language == "python" and not block.file:
            text = "\n" * (block.line - 1) + block.text
            yield compile(text, str(Path.cwd() / "page.py"), "exec")
        else:
            yield block


def _run_console(page: Path, block: Block) -> None:
    command, number, expected = "", block.line, [""]
    for at, line in enumerate([*block.text.splitlines(), "$ "], block.line):
        if not line.startswith("$ ") and not command.endswith("\\"):
            expected.append(line)
            continue
        if command.endswith("\\"):
            command += "\n" + line
            continue
        if command:
            _try(page, number, command, expected)
        command, number, expected = line[2:], at, []


def _try(page: Path, number: int, command: str, expected: Sequence[str]) -> None:
    done = subprocess.run(
        ["bash", "-c", _IN_ONE_SHELL.format(command=command, start=shlex.quote(os.getcwd()))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not _is_alike(expected, done.stdout.splitlines()):
        shown = "\n".join(("    " + line) for line in done.stdout.splitlines())
        sys.exit(f"{page}:{number}: $ {command}\nexit status {done.returncode}; it printed\n{shown}")


def _is_alike(expected: Sequence[str], printed: Sequence[str]) -> bool:
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, _steady(line).split("…"))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{_steady(line)}\n" for line in printed)) is not None


def _steady(line: str) -> str:
    for volatile, word in _VOLATILE:
        line = volatile.sub(word, line)
    return line.rstrip()


if __name__ == "__main__":
    if sys.argv[1] == _HERE:
        _run_page(Path(sys.argv[2]))
    else:  # somebody tries a page: not in their directory, where it would leave its files
        sys.exit("\n".join(filter(None, (failure(Path(page)) for page in sys.argv[1:]))) or None)
