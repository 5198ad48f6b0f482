"""Contents and action results in a vault: by which names they are kept, and whether a result is whole.

Shared by what speaks to Bazel over HTTP and over gRPC. It must know neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vcache.entry import Entry, Record
from vcache.hash import digest, sha256
from vcache.server.callers import Caller
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found, Vault
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import from_bytes

__all__ = [
    "CONTENTS", "EMPTY", "HASH", "MOST_TREE_BYTES", "NOTHING", "RESULTS", "content", "cost_ns", "is_whole", "references", "require_results",
    "result_name",
]  # fmt: skip

CONTENTS: Final = "cas"
RESULTS: Final = "ac"
HASH: Final = re.compile(r"[0-9a-f]{64}")
"""SHA-256 or BLAKE3 in hexadecimal: no name says which."""

EMPTY: Final = (sha256(b"").hex(), digest(b"").hex())
"""The names of no bytes: a content that is always there."""
NOTHING: Final = Found(Record(Entry(b"\0s", digest(b""), 0).encode(), b""))
MOST_TREE_BYTES: Final = 64 << 20
"""The longest tree or directory that is looked into."""
_MOST_NS: Final = 1 << 62


def content(vault: Vault, namespace: str, name: str) -> Found | None:
    """The content of a hash; that of no bytes is always there."""
    return NOTHING if name in EMPTY else vault.get(namespace, CONTENTS, name)


def result_name(instance: str, action: str) -> str:
    """By what name the result of an action is kept: instances do not see each other's."""
    return f"{instance}/{action}" if instance else action


def require_results(caller: Caller) -> None:
    """Refuse a caller that may not say what an action's result is.

    Raises:
        Refused: it may only read, or fill the store of contents.
    """
    caller.require_write()
    if not caller.may_write_results:
        raise Refused(Refusal.FORBIDDEN, "results of actions are taken from builders only")


def references(result: wire.ActionResult) -> Iterator[wire.Digest]:
    """The contents that a result names itself, without those that trees name."""
    for file in result.output_files:
        if not file.contents:
            yield file.digest
    if not result.stdout_raw and result.HasField("stdout_digest"):
        yield result.stdout_digest
    if not result.stderr_raw and result.HasField("stderr_digest"):
        yield result.stderr_digest
    for directory in result.output_directories:
        if directory.HasField("tree_digest"):
            yield directory.tree_digest
        if directory.HasField("root_directory_digest"):
            yield directory.root_directory_digest


def is_whole(vault: Vault, namespace: str, result: wire.ActionResult) -> bool:
    """Whether all that a result refers to is there, in its full size: files, trees and what is in them,
    texts. All of it then counts as used just now.
    """
    return _Walk(vault, namespace).is_there(result)


def cost_ns(result: wire.ActionResult) -> int:
    """How long the action took, as far as its result says so."""
    if not result.HasField("execution_metadata"):
        return 0
    said = result.execution_metadata
    if said.HasField("virtual_execution_duration"):
        took = said.virtual_execution_duration
        ns = took.seconds * 1_000_000_000 + took.nanos
    else:
        start, end = said.execution_start_timestamp, said.execution_completed_timestamp
        ns = (end.seconds - start.seconds) * 1_000_000_000 + end.nanos - start.nanos
    return ns if 0 < ns < _MOST_NS else 0


class _Walk:
    """One look at a result. What was seen is not looked at again."""

    def __init__(self, vault: Vault, namespace: str) -> None:
        self._vault, self._namespace = vault, namespace
        self._seen: set[str] = set()

    def is_there(self, result: wire.ActionResult) -> bool:
        return (
            all(self._has(digest) for digest in references(result))
            and all(self._has_tree(each) for each in result.output_directories)
        )  # fmt: skip

    def _has(self, named: wire.Digest) -> bool:
        return named.hash in self._seen or self._get(named) is not None

    def _get(self, named: wire.Digest) -> Found | None:
        found = content(self._vault, self._namespace, named.hash)
        if found is None or found.size_bytes != named.size_bytes:
            return None
        self._seen.add(named.hash)
        return found

    def _parsable(self, named: wire.Digest) -> Found | None:
        """The same of what may be a tree: to parse one takes many times its bytes."""
        return self._get(named) if named.size_bytes <= MOST_TREE_BYTES else None

    def _has_tree(self, output: wire.OutputDirectory) -> bool:
        if output.HasField("tree_digest"):
            found = self._parsable(output.tree_digest)
            try:
                tree = None if found is None else from_bytes(wire.Tree, bytes(found.body))
            except ValueError:
                return False
            if tree is None or not self._has_files(tree.root):
                return False
            if not all(map(self._has_files, tree.children)):
                return False
        return not output.HasField("root_directory_digest") or self._has_below(output.root_directory_digest)

    def _has_files(self, directory: wire.Directory) -> bool:
        return all(self._has(file.digest) for file in directory.files)

    def _has_below(self, root: wire.Digest) -> bool:
        """The same of directories that are contents of their own."""
        walked: set[str] = set()
        todo = [root]
        while todo:
            named = todo.pop()
            if named.hash in walked:
                continue
            walked.add(named.hash)
            found = self._parsable(named)
            try:
                directory = None if found is None else from_bytes(wire.Directory, bytes(found.body))
            except ValueError:
                return False
            if directory is None or not self._has_files(directory):
                return False
            todo += [each.digest for each in directory.directories]
        return True
