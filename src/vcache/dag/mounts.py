"""Lets a command see a directory at another path, where Linux allows that: a mount of its own.

A tree that stands where the project stands elsewhere gives the same bytes, also where a command
writes its place into them, as a compiler does with `-g`. It knows directories and processes, and
nothing of what runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from functools import cache as once
from typing import Final

__all__ = ["seen_at"]

_ENTRIES_MOST: Final = 64
_DEADLINE_S: Final = 10.0
_NEVER: Final = ("/proc", "/sys", "/dev", "/usr", "/bin", "/lib", "/etc")

# $1 the tree, $2 where it is to be seen, $3 the directory to run in, $4 the nearest directory above $2
# that exists ("" if $2 does), $5 what $2 is below that, $6 an empty directory; then the command.
_SCRIPT: Final = """
set -e
if [ -n "$4" ]; then
  {mount} -t tmpfs -o mode=755 vcache "$6"
  for each in "$4"/* "$4"/.[!.]*; do
    name="$6/${{each##*/}}"
    if [ -L "$each" ]; then {cp} -P "$each" "$name"
    elif [ -d "$each" ]; then {mkdir} "$name"; {mount} --rbind "$each" "$name"
    elif [ -e "$each" ]; then : > "$name"; {mount} --bind "$each" "$name"; fi
  done
  {mkdir} -p "$6/$5"
  {mount} --bind "$1" "$6/$5"
  {mount} --rbind "$6" "$4"
else
  {mount} --bind "$1" "$2"
fi
cd "$3"
shift 6
{become}
"""


def seen_at(tree: str, root: str, cwd: str) -> tuple[str, ...] | None:
    """What a command is to be started with so that it sees a tree at another path; None if it cannot.

    Args:
        tree: an absolute directory, which exists.
        root: where it is to be seen; absolute and normal. It need not exist.
        cwd: where the command runs, below the root, by name.
    """
    how = _how()
    above = _above(root)
    if how is None or above is None or any(f"{root}/".startswith(f"{each}/") for each in _NEVER):
        return None
    rest = os.path.relpath(root, above) if above else ""
    room = f"{tree}.room"
    os.makedirs(room, exist_ok=True)
    argv = (
        *how[0],
        "/bin/sh",
        "-c",
        how[1],
        "vcache",
        tree,
        root,
        os.path.join(root, cwd),
        above,
        rest,
        room,
    )
    return argv if _works(argv, cwd=tree, expected=os.path.normpath(os.path.join(root, cwd))) else None


def _above(root: str) -> str | None:
    """The nearest directory above a root that exists; "" if the root does; None if it is of no use."""
    if root.count("/") < 2:
        return None  # all else that a command needs would be hidden
    if os.path.isdir(root):
        return ""
    above = os.path.dirname(root)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    try:
        return above if above != "/" and len(os.listdir(above)) <= _ENTRIES_MOST else None
    except OSError:
        return None


@once
def _how() -> tuple[tuple[str, ...], str] | None:
    """The beginning of the command line, and the script; None where the programs are missing."""
    words = {name: shutil.which(name) for name in ("unshare", "mount", "mkdir", "cp", "setpriv")}
    if not sys.platform.startswith("linux") or None in words.values():
        return None
    found = {name: shlex.quote(path) for name, path in words.items() if path is not None}
    unshare = str(words["unshare"])
    if os.geteuid() == 0:
        return (unshare, "--mount", "--"), _SCRIPT.format(**found, become='exec "$@"')
    # Being allowed to mount must not follow the command: it could read what it may not read at home.
    become = f'exec {found["setpriv"]} --ambient-caps=-all --inh-caps=-all "$@"'
    as_self = ("--user", "--map-current-user", "--keep-caps")
    return (unshare, *as_self, "--mount", "--"), _SCRIPT.format(**found, become=become)


def _works(argv: tuple[str, ...], *, cwd: str, expected: str) -> bool:
    try:
        told = subprocess.run(
            (*argv, "/bin/sh", "-c", "pwd -P"),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and os.fsdecode(told.stdout).rstrip("\n") == expected
