"""Inputs ▷ key: what a result depends on, how it is identified, and what of it has changed."""

from __future__ import annotations

from vcache.fingerprint.digests import Backing, FileDigests, FileState
from vcache.fingerprint.inputs import Absent, Dir, Env, File, Glob, Listing, Ref, Spec, Tool, Value
from vcache.fingerprint.manifest import Change, Line, Manifest, Sink
from vcache.fingerprint.observe import Observer, Stale

__all__ = [
    "Absent",
    "Backing",
    "Change",
    "Dir",
    "Env",
    "File",
    "FileDigests",
    "FileState",
    "Glob",
    "Line",
    "Listing",
    "Manifest",
    "Observer",
    "Ref",
    "Sink",
    "Spec",
    "Stale",
    "Tool",
    "Value",
]
