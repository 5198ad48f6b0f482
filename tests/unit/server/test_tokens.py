"""Tokens: what the file keeps, and who is let in."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from vcache.errors import ConfigError, UsageError
from vcache.server.auth import Authenticator
from vcache.server.callers import NOBODY, OPEN, Role
from vcache.server.refused import Refusal, Refused
from vcache.server.tokens import TokenFile, signing_secret, split_token

NOW = 1_800_000_000_000_000_000


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "server" / "tokens.json", clock=lambda: NOW)


def scope(header: str | None) -> dict[str, object]:
    return {"headers": [] if header is None else [(b"authorization", header.encode())]}


def basic(password: str, user: str = "any") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_comes_back_and_its_secret_is_not_kept(tokens: TokenFile) -> None:
    """What was added is found again; the file holds no secret, and is its owner's alone."""
    row, text = tokens.add(Role.WRITER, "team-a", note="ci")
    assert tokens.rows() == {row.id: row}
    parts = split_token(text)
    assert parts is not None
    assert parts[0] == row.id
    assert parts[1] not in tokens.path.read_text()
    assert tokens.path.stat().st_mode & 0o777 == 0o600


def test_two_tokens_differ(tokens: TokenFile) -> None:
    """Ids and secrets are drawn anew each time."""
    texts = {tokens.add(Role.READER, "a")[1] for _ in range(8)}
    assert len(texts) == 8
    assert len(tokens.rows()) == 8


@pytest.mark.parametrize("namespace", ["", "A", "a/b", "@a", "a:b", "-a", "a" * 65, "ä"])
def test_a_namespace_that_is_none_is_refused(tokens: TokenFile, namespace: str) -> None:
    """What could be taken for a part of another name is no namespace."""
    with pytest.raises(UsageError, match="namespace"):
        tokens.add(Role.READER, namespace)
    assert tokens.rows() == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 2, "tokens": []}', '{"version": 1}', '{"version": 1, "tokens": [{}]}',
     '{"version": 1, "tokens": [{"id": "a", "hash": "b", "role": "king", "namespace": "a", "created_ns": 1}]}',
     '{"version": 1, "tokens": [{"id": "a", "hash": "b", "role": "admin", "namespace": "@", "created_ns": 1}]}',
     '{"version": 1, "tokens": [{"id": "a", "hash": "b", "role": "admin", "namespace": "a", "created_ns": "x"}]}'],
)  # fmt: skip
def test_a_damaged_file_lets_nobody_in(tokens: TokenFile, text: str) -> None:
    """A file that cannot be read is an error that names it, never an empty list."""
    tokens.path.parent.mkdir()
    tokens.path.write_text(text)
    tokens.path.chmod(0o600)
    with pytest.raises(ConfigError, match=str(tokens.path)):
        tokens.rows()


def test_a_file_that_others_may_write_is_refused(tokens: TokenFile) -> None:
    """Who can add a row can do everything."""
    tokens.add(Role.READER, "a")
    tokens.path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 600"):
        tokens.rows()


def test_revoking_is_for_good(tokens: TokenFile) -> None:
    """A revoked token stays in the list and lets nobody in; an unknown id is said."""
    row, text = tokens.add(Role.ADMIN, "a")
    tokens.revoke(row.id)
    assert tokens.revoke(row.id).revoked_ns == NOW
    with pytest.raises(Refused, match="was revoked") as refused:
        Authenticator(tokens.rows(), clock=lambda: NOW)(scope(f"Bearer {text}"))
    assert refused.value.kind is Refusal.UNAUTHENTICATED
    with pytest.raises(UsageError, match="no token has the id 'other'"):
        tokens.revoke("other")


@pytest.mark.parametrize("role", [Role.READER, Role.WRITER, Role.BUILDER, Role.ADMIN])
@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "Bearer   {}"])
def test_a_token_says_who_asks(tokens: TokenFile, role: Role, form: str) -> None:
    """Role and namespace come from the token, in either form of authorization."""
    row, text = tokens.add(role, "team-a")
    who = Authenticator(tokens.rows(), clock=lambda: NOW)
    for header in (form.format(text), basic(text), basic(text, "")):
        for _ in range(2):
            caller = who(scope(header))
            assert (caller.token, caller.role, caller.namespace) == (row.id, role, "team-a")
            assert caller.may_write == (role >= Role.WRITER)


def test_an_expired_token_lets_nobody_in_from_its_moment_on(tokens: TokenFile) -> None:
    """A token that was known a moment ago is looked at again."""
    _, text = tokens.add(Role.READER, "a", expires_ns=NOW + 5)
    now = NOW
    who = Authenticator(tokens.rows(), clock=lambda: now)
    assert who(scope(f"Bearer {text}")).namespace == "a"
    now = NOW + 5
    with pytest.raises(Refused, match="has expired"):
        who(scope(f"Bearer {text}"))


def test_what_is_no_token_is_refused(tokens: TokenFile) -> None:
    """Wrong secrets, other ids, other schemes and broken base64 are all the same: nobody."""
    row, text = tokens.add(Role.ADMIN, "a")
    other, _ = tokens.add(Role.READER, "b")
    secret = text.removeprefix(f"vct_{row.id}_")
    wrong = [
        text[:-1], text + "x", text.upper(), f"vct_{other.id}_{secret}", f"vct_{row.id}_", f"vct__{secret}",
        "vct_", "", secret, row.hash, f"vct_{row.id}_{row.hash}",
    ]  # fmt: skip
    who = Authenticator(tokens.rows(), clock=lambda: NOW)
    headers = [form for item in wrong for form in (f"Bearer {item}", basic(item))]
    for header in [*headers, "Basic !", "Basic /w==", f"Digest {text}", text, "", "Bearer \xff"]:
        with pytest.raises(Refused) as refused:
            who.of_header(header.encode("latin-1"))
        assert refused.value.kind is Refusal.UNAUTHENTICATED
        assert secret not in str(refused.value)


def test_who_says_nothing_is_nobody(tokens: TokenFile) -> None:
    """Without a header a caller may neither read nor write; on an open server it may do all."""
    nobody = Authenticator(tokens.rows())(scope(None))
    assert nobody is NOBODY
    assert not nobody.may_read
    assert not nobody.may_write
    assert not nobody.may_write_results
    assert Authenticator(None)(scope(None)) is OPEN
    assert Authenticator(None)(scope("Bearer anything")) is OPEN


def test_an_empty_list_of_tokens_is_not_an_open_server() -> None:
    """Only a server that was opened is open."""
    with pytest.raises(Refused):
        Authenticator({})(scope("Bearer vct_a_b"))


def test_results_of_a_guarded_namespace_are_for_builders(tokens: TokenFile) -> None:
    """A writer may fill its cache, and say what an action gives only where nobody minds."""
    _, writer = tokens.add(Role.WRITER, "release")
    _, builder = tokens.add(Role.BUILDER, "release")
    _, reader = tokens.add(Role.READER, "dev")
    _, free = tokens.add(Role.WRITER, "dev")
    who = Authenticator(tokens.rows(), builders_only=frozenset({"release"}), clock=lambda: NOW)
    may = [
        who.of_header(f"Bearer {text}".encode()).may_write_results for text in (writer, builder, reader, free)
    ]
    assert may == [False, True, False, True]


def test_reloaded_tokens_hold_at_once(tokens: TokenFile) -> None:
    """What was known before a reload is forgotten."""
    row, text = tokens.add(Role.READER, "a")
    who = Authenticator(tokens.rows(), clock=lambda: NOW)
    who(scope(f"Bearer {text}"))
    tokens.revoke(row.id)
    who.reload(tokens.rows(), builders_only=frozenset())
    with pytest.raises(Refused, match="was revoked"):
        who(scope(f"Bearer {text}"))


def test_signing_secrets_are_derived_and_their_own(tokens: TokenFile) -> None:
    """Each id has its secret, stable over restarts, and none without the server's key."""
    row, _ = tokens.add(Role.WRITER, "a")
    other, _ = tokens.add(Role.WRITER, "b")
    master = tokens.master()
    assert tokens.master() == master
    who = Authenticator(tokens.rows(), master=master, clock=lambda: NOW)
    found = who.signer(row.id)
    assert found is not None
    assert found[0] == signing_secret(master, row.id) != signing_secret(master, other.id)
    assert found[1].namespace == "a"
    assert who.signer("unknown") is None
    assert Authenticator(tokens.rows()).signer(row.id) is None
    tokens.revoke(row.id)
    who.reload(tokens.rows(), builders_only=frozenset())
    assert who.signer(row.id) is None
    tokens.path.with_suffix(".key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        tokens.master()


def test_what_the_file_does_not_say_is_never(tokens: TokenFile) -> None:
    """Rows hold only what differs from the default, and are read the same."""
    row, _ = tokens.add(Role.READER, "a")
    (kept,) = json.loads(tokens.path.read_text())["tokens"]
    assert set(kept) == {"id", "hash", "role", "namespace", "created_ns"}
    assert tokens.rows()[row.id].is_valid(NOW * 2)
