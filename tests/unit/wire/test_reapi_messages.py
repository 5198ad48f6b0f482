"""The generated messages are those of the description, and speak the public field numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vcache.wire import reapi_pb2 as wire

_NEWER = ("max_cas_blob_size_bytes",)  # than the description that is compared with
ROOT = Path(__file__).resolve().parents[3]


def test_what_is_committed_is_what_the_description_gives() -> None:
    """`reapi_pb2` was made from `reapi.proto` as it stands."""
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_wire.py", "--check"], check=True, capture_output=True
    )


def test_the_bytes_are_those_of_the_public_api() -> None:
    """Field numbers and types: a result as Bazel encodes it, written by hand."""
    digest = wire.Digest(hash="ab", size_bytes=300)
    assert digest.SerializeToString() == b"\x0a\x02ab\x10\xac\x02"
    result = wire.ActionResult(
        output_files=[wire.OutputFile(path="p", digest=digest, is_executable=True)],
        exit_code=2,
        stderr_raw=b"e",
    )
    assert result.SerializeToString() == (
        b"\x12\x0e\x0a\x01p\x12\x07\x0a\x02ab\x10\xac\x02\x20\x01" + b"\x20\x02" + b"\x3a\x01e"
    )


def test_they_live_beside_the_public_modules() -> None:
    """The same messages under their public names, in one process, collide with nothing."""
    code = (
        "from buildstream._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as theirs\n"
        "from vcache.wire import reapi_pb2 as ours\n"
        "one = theirs.Digest(hash='ab', size_bytes=3)\n"
        "assert ours.Digest.FromString(one.SerializeToString()).size_bytes == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name",
    [
        "Digest", "ActionResult", "OutputFile", "OutputDirectory", "OutputSymlink", "Directory", "Tree",
        "FileNode", "DirectoryNode", "SymlinkNode", "NodeProperties", "ExecutedActionMetadata",
        "CacheCapabilities", "ServerCapabilities", "GetActionResultRequest", "UpdateActionResultRequest",
        "FindMissingBlobsRequest", "FindMissingBlobsResponse", "BatchUpdateBlobsRequest",
        "BatchUpdateBlobsResponse", "BatchReadBlobsRequest", "BatchReadBlobsResponse", "GetTreeRequest",
        "GetTreeResponse", "RequestMetadata",
    ],
)  # fmt: skip
def test_every_field_has_the_public_number_and_type(name: str) -> None:
    """Field by field against the description that BuildStream ships."""
    from buildstream._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as theirs

    public = getattr(theirs, name).DESCRIPTOR
    _expect_same(getattr(wire, name).DESCRIPTOR, public)


def _expect_same(ours: object, public: object) -> None:
    fields = {field.name: field for field in public.fields}  # type: ignore[attr-defined]
    for field in ours.fields:  # type: ignore[attr-defined]
        if field.name in _NEWER:
            continue
        other = fields[field.name]
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated)
    nested = {message.name: message for message in public.nested_types}  # type: ignore[attr-defined]
    for message in ours.nested_types:  # type: ignore[attr-defined]
        _expect_same(message, nested[message.name])
