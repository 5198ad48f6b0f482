"""What a result refers to is spared by a collection for as long as its lease holds."""

from __future__ import annotations

from pathlib import Path

from vcache.hash import sha256
from vcache.janitor import collect
from vcache.policy import Limits
from vcache.server import results
from vcache.server.vault import Vault
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of
from vcache.wire import reapi_pb2 as wire

S = 1_000_000_000


def test_what_was_served_outlives_a_collection(tmp_path: Path) -> None:
    """A budget that holds next to nothing takes the rest; when the lease is over, that goes as well."""
    now_ns = 1_800_000_000 * S
    clock = lambda: now_ns  # noqa: E731 - it reads the variable
    store = DiskStore(tmp_path / "store", clock=clock)
    vault = Vault(store, clock=clock)
    files = [body_of(size, seed=size) for size in (100, 50_000, 400_000)]
    tree = wire.Tree(
        root=wire.Directory(
            files=[wire.FileNode(name="f", digest=wire.Digest(hash=_name(files[2]), size_bytes=400_000))]
        )
    ).SerializeToString()
    for content in (*files, tree, *(body_of(100_000, seed=-seed) for seed in range(1, 6))):
        vault.put("", results.CONTENTS, _name(content), content)
    result = wire.ActionResult(
        output_files=[
            wire.OutputFile(path=str(n), digest=wire.Digest(hash=_name(each), size_bytes=len(each)))
            for n, each in enumerate(files[:2])
        ],
        output_directories=[
            wire.OutputDirectory(tree_digest=wire.Digest(hash=_name(tree), size_bytes=len(tree)))
        ],
    )
    limits = Limits(max_bytes=10_000, spare_used_s=600)

    now_ns += 1000 * S
    assert results.is_whole(vault, "", result)
    now_ns += 599 * S
    collect(store, limits, clock=clock)
    assert sorted(entry.size_bytes for entry in vault.entries("")) == sorted(map(len, (*files, tree)))
    assert results.is_whole(vault, "", result)

    now_ns += 601 * S
    collect(store, limits, clock=clock)
    assert not results.is_whole(vault, "", result)
    store.close()


def _name(content: bytes) -> str:
    return sha256(content).hex()
