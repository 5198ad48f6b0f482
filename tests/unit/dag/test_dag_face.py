"""`vcache.dag`: the words of build files, loaded when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vcache.dag

_LOADED = """
import sys, vcache.dag.node
print(*sorted(name for name in sys.modules if name.startswith("vcache.dag")))
"""


def test_all_names_are_there():
    """Each name of `__all__` resolves, and `dir` shows them."""
    assert [name for name in vcache.dag.__all__ if getattr(vcache.dag, name, None) is None] == []
    assert dir(vcache.dag) == sorted(vcache.dag.__all__)


def test_another_name_is_an_error():
    """As Python says it."""
    with pytest.raises(AttributeError, match=r"module 'vcache.dag' has no attribute 'nobody'"):
        _ = vcache.dag.nobody


def test_the_package_alone_loads_no_front_end():
    """The clean path of a build imports it."""
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vcache.dag", "vcache.dag.node"]
