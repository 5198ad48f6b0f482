"""The public face of `vcache.logs`: typed, complete, and loaded late."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vcache.logs
from tests.unit.logs.front.typed_usage import say
from vcache.logs.front.process import PROCESS


def test_typed_usage_runs():
    """What the type checker accepts does what it says."""
    level = PROCESS.level
    try:
        assert say() == 4
    finally:
        PROCESS.level = level
        PROCESS.changed()


def test_every_public_name_is_there():
    """`__all__` is sorted, and all of it can be had."""
    assert list(vcache.logs.__all__) == sorted(vcache.logs.__all__)
    for name in vcache.logs.__all__:
        assert getattr(vcache.logs, name).__doc__
    assert set(vcache.logs.__all__) <= set(dir(vcache.logs))
    with pytest.raises(AttributeError, match="no attribute 'Loger'"):
        vcache.logs.Loger  # noqa: B018


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import vcache.logs", ("vcache.logs.front", "vcache.logs.record", "typing")),
        ("from vcache.logs import Logger; Logger('x', sinks=[]).info('m')",
         ("logging", "numpy", "orjson", "traceback", "asyncio", "opentelemetry", "vcache.store", "vcache.cache")),
    ],
)  # fmt: skip
def test_what_is_loaded(code, absent):
    """The front end loads neither the store nor what its extra brings, and the room itself nothing."""
    listing = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert not set(absent) & set(done.stdout.split())
