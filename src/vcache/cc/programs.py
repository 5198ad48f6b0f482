"""Which programs a compiler driver starts, and which variables it heeds. Asks the driver itself."""

from __future__ import annotations

import os
import subprocess

from vcache.fingerprint.tools import find_tool

__all__ = ["HEEDED", "helpers"]

HEEDED = (
    "COMPILER_PATH", "CPATH", "CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH", "GCC_COLORS", "GCC_EXEC_PREFIX", "LANG",
    "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "OBJC_INCLUDE_PATH", "SOURCE_DATE_EPOCH",
)  # fmt: skip


def helpers(program: str) -> tuple[str, ...]:
    """The paths of the compiler proper and the assembler behind a driver."""
    found = []
    for name in ("cc1", "cc1plus", "as"):
        asked = [program, f"-print-prog-name={name}"]
        told = subprocess.run(asked, capture_output=True, check=False).stdout
        tool = find_tool(os.fsdecode(told.strip()) or name, os.environ)
        if tool is not None:
            found.append(tool[0])
    return tuple(found)
