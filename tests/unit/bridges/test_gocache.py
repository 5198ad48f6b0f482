"""Go's cache protocol, line by line."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from vcache.bridges.gocache import GoCache
from vcache.cache import Cache
from vcache.errors import UsageError
from vcache.server.vault import Vault

ACTION, OUTPUT = b"\1" * 32, b"\2" * 32


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def talk(cache: Cache, *requests: tuple[dict[str, Any], bytes | None]) -> dict[int, dict[str, Any]]:
    """The answers by number, and what the files held that they named."""
    lines = []
    for fields, body in requests:
        lines.append(json.dumps(fields))
        if body is not None:
            lines += ["", json.dumps(b64(body))]
    said = io.BytesIO()

    class Answers(io.BytesIO):
        def write(self, data: Any) -> int:
            answer = json.loads(bytes(data))
            if "DiskPath" in answer:
                answer["content"] = b64(Path(answer["DiskPath"]).read_bytes())
            return said.write(json.dumps(answer).encode() + b"\n")

    GoCache(cache, io.BytesIO("\n".join(lines).encode()), Answers()).serve()
    return {answer["ID"]: answer for answer in map(json.loads, said.getvalue().splitlines())}


def put(number: int, body: bytes, action: bytes = ACTION) -> tuple[dict[str, Any], bytes | None]:
    fields = {
        "ID": number,
        "Command": "put",
        "ActionID": b64(action),
        "OutputID": b64(OUTPUT),
        "BodySize": len(body),
    }
    return fields, body or None


def get(number: int, action: bytes = ACTION) -> tuple[dict[str, Any], None]:
    return {"ID": number, "Command": "get", "ActionID": b64(action)}, None


CLOSE: tuple[dict[str, Any], None] = ({"ID": 99, "Command": "close"}, None)


def test_a_fault_of_any_kind_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go waits for each answer: a get is a miss, a put says why."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of a store's")

    monkeypatch.setattr(Vault, "get", broken)
    monkeypatch.setattr(Vault, "put", broken)
    with Cache(tmp_path) as cache:
        answers = talk(cache, get(1), put(2, b"body"), CLOSE)
    assert answers[1] == {"ID": 1, "Miss": True}
    assert "a bug of a store's" in answers[2]["Err"]
    assert 99 in answers


@pytest.mark.parametrize("body", [b"", b"x", b"y" * 5000, b"z" * 600_000], ids=len)
def test_what_was_put_is_given_as_a_file(tmp_path: Path, body: bytes) -> None:
    """A put names a file with its body, and so does a get of the next run."""
    with Cache(tmp_path) as cache:
        first = talk(cache, get(1), put(2, body), CLOSE)
        assert first[0]["KnownCommands"] == ["get", "put", "close"]
        assert first[1] == {"ID": 1, "Miss": True}
        assert base64.b64decode(first[2]["content"]) == body
        assert first[99] == {"ID": 99}
        second = talk(cache, get(1), CLOSE)[1]
    assert base64.b64decode(second["content"]) == body
    assert (second["OutputID"], second["Size"]) == (b64(OUTPUT), len(body))
    assert second["Time"].endswith("Z")


def test_a_go_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """The end of its output is the end, also in the middle of a put."""
    with Cache(tmp_path) as cache:
        fields, _ = put(1, b"abc")
        assert set(talk(cache, (fields, None))) == {0}
        assert talk(cache, get(2))[2]["Miss"]


def test_an_unknown_command_is_said(tmp_path: Path) -> None:
    """A newer Go is told what is not known here."""
    with Cache(tmp_path) as cache:
        assert "prune" in talk(cache, ({"ID": 5, "Command": "prune"}, None), CLOSE)[5]["Err"]


def test_memory_alone_cannot_serve_go() -> None:
    """Go wants files."""
    with Cache("mem:1MB") as cache, pytest.raises(UsageError, match="disk tier"):
        GoCache(cache, io.BytesIO(), io.BytesIO())


def test_many_at_once_are_answered_each(tmp_path: Path) -> None:
    """Requests in flight together are told apart by their numbers."""
    actions = [bytes((number,)) * 32 for number in range(50)]
    with Cache(tmp_path) as cache:
        puts = [put(number, b"body %d" % number, action) for number, action in enumerate(actions, 1)]
        talk(cache, *puts, CLOSE)
        answers = talk(cache, *[get(number, action) for number, action in enumerate(actions, 1)], CLOSE)
    for number in range(1, 51):
        assert base64.b64decode(answers[number]["content"]) == b"body %d" % number
