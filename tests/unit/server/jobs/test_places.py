"""Where a server's queues are: a file for each namespace, none of which is another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache.jobs.models import Spec
from vcache.kit.ids import uuid7
from vcache.server.jobs.places import name_of, queues_of
from vcache.server.refused import Refusal, Refused

NAMESPACES = ("", "default", "a", "a.", "a..", "a_", "a-b.c")


def test_namespaces_have_files_of_their_own(tmp_path: Path) -> None:
    """Whatever a token's namespace is called, its jobs are kept, counted, and found by the next server."""
    assert len({name_of(namespace) for namespace in NAMESPACES}) == len(NAMESPACES)
    queues = queues_of(None, tmp_path)
    for namespace in NAMESPACES:
        assert not queues.are_kept(namespace)
        queues.of(namespace).submit([Spec(uuid7.text(), f"kind-{namespace}", {})])
        assert queues.are_kept(namespace)
        assert queues.size_bytes(namespace) > 0
    for namespace in NAMESPACES:
        assert list(queues.of(namespace).stats().totals) == [f"kind-{namespace}"]
    queues.close()
    with pytest.raises(Refused) as refused:
        queues.of("a")
    assert refused.value.kind is Refusal.BUSY


def test_without_a_directory_there_are_no_jobs() -> None:
    """It is said what to do; an address says where they are."""
    with pytest.raises(Refused, match="--queue"):
        queues_of(None, None).of("")
    queues = queues_of("mem:", None)
    assert queues.of("") is queues.of("")
    queues.close()
