"""The public face: few names, each where it says, and none loaded before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vcache


def test_every_public_name_is_there():
    """`__all__` is sorted, at most 25 names, and all of them can be had."""
    assert list(vcache.__all__) == sorted(vcache.__all__)
    assert len(vcache.__all__) <= 25
    assert len(set(vcache.__all__)) == len(vcache.__all__)
    for name in vcache.__all__:
        thing = getattr(vcache, name)
        assert thing.__module__.startswith("vcache.")
        assert not thing.__module__.rpartition(".")[2].startswith("_")
        assert thing.__doc__
    assert set(vcache.__all__) <= set(dir(vcache))


def test_an_unknown_name_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Cahce'"):
        vcache.Cahce  # noqa: B018
    assert not hasattr(vcache, "json")


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running some code."""
    listing = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_loads_nothing_else():
    """`import vcache` loads the face and no room behind it."""
    loaded = loaded_by("import vcache")
    assert [name for name in loaded if name.startswith("vcache.")] == []


def test_a_cache_loads_what_it_needs():
    """Storing a value loads neither fingerprints of code, nor steps, nor the command, nor async."""
    loaded = loaded_by("from vcache import Cache\nwith Cache('mem:1MB') as c: c.put('k', 1); c.get('k')")
    for name in (
        "vcache.step", "vcache.aio", "vcache.cli", "vcache.janitor", "vcache.config",
        "vcache.fingerprint.code", "vcache.fingerprint.traced",
        "asyncio", "subprocess", "anyio", "numpy", "pyarrow", "rich", "click", "platformdirs",
    ):  # fmt: skip
        assert name not in loaded, name


def test_the_hook_is_installed_by_traced_steps_only():
    """A program without traced steps has no audit hook of ours."""
    loaded = loaded_by(
        "from vcache import Cache\nc = Cache('mem:1MB')\nprint(c.step(lambda x: x)(1), file=sys.stderr)"
    )
    assert "vcache.fingerprint.traced" not in loaded


def test_the_version_is_the_distributions():
    """One number in two places."""
    from importlib.metadata import version

    assert vcache.__version__ == version("vcache")
