"""Queues by address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vcache.config import load
from vcache.errors import ConfigError, StoreError
from vcache.jobs import connect
from vcache.jobs.opening import default_address, open_queue


def test_a_queue_in_memory() -> None:
    """`mem:` is one, of a namespace, and each its own"""
    with connect("mem:", namespace="ci") as jobs:
        assert jobs.queue.info == ("mem:", "ci", False, False)
        jobs.submit("k")
        assert open_queue("MEM:").list(jobs.get(jobs.submit("k")).state).jobs == []  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["{dir}", "sqlite:{dir}", "SQLITE:{escaped}"])
def test_a_queue_in_a_directory(tmp_path: Path, form: str) -> None:
    """a directory is one, with a scheme or without; odd letters are escaped behind one"""
    place = tmp_path / "a b" if "escaped" not in form else tmp_path / "a %?b"
    escaped = str(place).replace("%", "%25").replace("?", "%3F").replace(" ", "%20")
    address = form.format(dir=place, escaped=escaped)
    with connect(address) as jobs:
        job_id = jobs.submit("k")
    assert place.is_dir()
    with connect(place) as jobs:
        assert jobs.get(job_id) is not None
    with connect(place, namespace="other") as jobs:
        assert jobs.get(job_id) is None


def test_the_setting_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """without an address it is the one of the setting, or the one beside the cache"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    assert default_address() == f"sqlite:{tmp_path}/cache/jobs"
    monkeypatch.setenv("VCACHE_QUEUE", "mem:")
    assert default_address() == "mem:"
    assert default_address(load({"queue": "redis://h"})) == "redis://h"
    with connect() as jobs:
        assert jobs.queue.info.name == "mem:"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("rediss1://h", r"unknown scheme 'rediss1'; did you mean 'rediss'"),
        ("sqllite:x", r"unknown scheme 'sqllite'; did you mean 'sqlite'"),
        ("postgres://u:secret@h/d", r"(?s)queue 'postgres://u:…@h/d': unknown scheme 'postgres'"),
        ("mem:64MB", "neither path nor options: write mem:"),
        ("sqlite:", "names no directory: write sqlite:DIR"),
        ("", "names no directory"),
        ("sqlite:x?y=1", r"takes no options; a \? in a path is written %3F"),
    ],
)
def test_addresses_that_are_none(address: str, said: str) -> None:
    """are refused with what was meant, and without secrets"""
    with pytest.raises(ConfigError, match=said):
        open_queue(address)


@pytest.mark.parametrize(("below", "kind"), [("", ConfigError), ("/queue", StoreError)])
def test_a_file_is_no_queue(tmp_path: Path, below: str, kind: type[Exception]) -> None:
    """nor is there one below it; the file is named, and what to do"""
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=f"{tmp_path}/file.* a file.*[nN]ame (one|another)"):
        open_queue(f"sqlite:{tmp_path}/file{below}")


@pytest.mark.parametrize("namespace", ["a/b", "..", ".a", "a ", "x" * 101, "naïve", "a\n"])
def test_namespaces_that_are_none(namespace: str) -> None:
    """a namespace is a part of names of files and keys"""
    with pytest.raises(ConfigError, match="not a namespace of jobs"):
        open_queue("mem:", namespace=namespace)


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [("sqlite:jobs", "apsw", "jobs"), ("redis://127.0.0.1:1", "redis", "redis")],
)
def test_a_library_that_is_missing(tmp_path: Path, address: str, module: str, extra: str) -> None:
    """is named, with the extra that brings it"""
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from vcache.errors import ConfigError\n"
        "from vcache.jobs.opening import open_queue\n"
        f"try: open_queue({address!r})\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"vcache[{extra}]" in done.stdout


def test_asking_loads_little() -> None:
    """who asks for jobs in memory loads neither SQLite nor Redis, nor asyncio, nor msgspec"""
    code = (
        "import sys, vcache.jobs as v\n"
        "jobs = v.connect('mem:'); jobs.submit('k', {'a': 1}, delay='1s')\n"
        "print(sorted({'apsw', 'redis', 'asyncio', 'msgspec', 'cronsim', 'json'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
