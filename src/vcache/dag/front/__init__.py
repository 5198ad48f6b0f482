"""The Python front end: `vcachefile.py` to a graph of nodes."""

from __future__ import annotations

from vcache.dag.front.build import Build, build
from vcache.dag.front.graph import PyGraph
from vcache.dag.front.targets import Target, need
from vcache.dag.front.words import Cmd, cmd, sh

__all__ = ["Build", "Cmd", "PyGraph", "Target", "build", "cmd", "need", "sh"]
