"""What the tests of build tools over `vcache serve` share: counters, tokens, sources, clean environments."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.servers import VcacheServer, vcache_serve

_SAMPLE = re.compile(r'vcache_server_requests_total\{dialect="(\w+)",outcome="(\w+)"\} (\S+)')
_REFUSED = re.compile(r'vcache_server_refused_total\{dialect="(\w+)",status="(\d+)"\} (\S+)')
_SAVED = re.compile(r'vcache_server_saved_seconds_total\{dialect="(\w+)"\} (\S+)')

FULL = {"VCACHE_SERVE_QUOTA": "1"}
"""Lets a server find that every namespace is full."""

WRONG_TOKEN = "vct_aaaaaaaaaaaaaaaa_this-is-nobodys-secret"


class Asked(Counter[str]):
    """How often a dialect was asked, by what came of it: hit, miss, put, other, or a status."""


def asked(server: VcacheServer, dialect: str, admin: str = "") -> Asked:
    """What the server counted, told to an administrator where there are tokens."""
    text = metrics(server, admin)
    found = Asked()
    for name, outcome, value in [*_SAMPLE.findall(text), *_REFUSED.findall(text)]:
        if name == dialect and float(value):
            found[outcome] = int(float(value))
    return found


def saved_s(server: VcacheServer, dialect: str) -> float:
    """What hits had once taken to make, as the server counted it."""
    return sum(float(value) for name, value in _SAVED.findall(metrics(server)) if name == dialect)


def metrics(server: VcacheServer, admin: str = "") -> str:
    request = urllib.request.Request(f"{server.url}/metrics")
    if admin:
        request.add_header("Authorization", f"Bearer {admin}")
    with urllib.request.urlopen(request, timeout=10) as reply:
        text: str = reply.read().decode()
    return text


@contextmanager
def guarded(directory: Path, **env: str) -> Iterator[VcacheServer]:
    """A server that asks for tokens."""
    tokens = directory / "server" / "tokens.json"
    with vcache_serve(directory, "--tokens", tokens, env=env) as server:
        yield server


def new_token(directory: Path, namespace: str, role: str) -> dict[str, str]:
    """A token and its S3 keys, for a server that is not yet started."""
    command = [sys.executable, "-m", "vcache", "--dir", os.fspath(directory), "token", "new", namespace]
    out = subprocess.check_output([*command, "--role", role, "--s3", "--json"])
    told: dict[str, str] = json.loads(out)
    return told


def killed(server: VcacheServer) -> None:
    """The server is gone, from one moment to the next."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)


def pointed(tool: str, server: VcacheServer, token: str = "") -> dict[str, str]:
    """The variables that `eval "$(vcache env TOOL)"` sets, as a shell sees them."""
    flags = f"--url {server.url}" + (" --token-env CACHE_TOKEN" if token else "")
    script = f'eval "$({sys.executable} -m vcache env {tool} {flags})" && env -0'
    clean = {"PATH": os.environ["PATH"], "CACHE_TOKEN": token}
    out = subprocess.check_output(["sh", "-ec", script], env=clean, stderr=subprocess.DEVNULL)
    pairs = dict(line.split("=", 1) for line in out.decode().split("\0") if line)
    own = {"PATH", "PWD", "CACHE_TOKEN", "_", "SHLVL", "OLDPWD"}
    return {name: value for name, value in pairs.items() if name not in own}


def clean_environ(home: Path, *dropped: str) -> dict[str, str]:
    """This process's environment without what would point a tool elsewhere, at home in a directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", *dropped))}
    home.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": os.fspath(home), "LC_ALL": "C"}


def sources(directory: Path, count: int) -> list[Path]:
    """Small C files, each with something of its own, and a header."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shared.h").write_text("#define BASE 40\n")
    files = []
    for number in range(count):
        file = directory / f"unit{number}.c"
        file.write_text(f'#include "shared.h"\nint unit{number}(int x) {{ return x * {number} + BASE; }}\n')
        files.append(file)
    return files


def ran(
    command: list[str | Path], cwd: Path, environ: Mapping[str, str], *, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """A command that ended, whatever its status."""
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
