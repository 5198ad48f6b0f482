"""`vcache trust`, in this process."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from vcache.store.sealed.keys import read_policy, read_private, read_secret

Run = Callable[..., Result]


def test_a_new_key_and_its_policy_go_together(vcache: Run) -> None:
    """What is printed, appended to a policy, trusts what the file signs."""
    made = vcache("trust", "new", "ci", "--out", "ci.key")
    assert made.exit_code == 0
    Path("policy.toml").write_text(made.stdout)
    (producer,) = read_policy("policy.toml")
    assert (producer.name, producer.namespaces) == ("ci", ("*",))
    assert read_private("ci.key")[0] == "ci"
    assert Path("ci.key").stat().st_mode & 0o777 == 0o600
    shown = vcache("trust", "show", "ci.key")
    assert shown.stdout == made.stdout
    checked = vcache("trust", "check", "policy.toml")
    assert checked.exit_code == 0
    assert "ci    valid  '*'" in checked.stdout


def test_the_secret_is_never_printed(vcache: Run) -> None:
    """Neither making, showing nor checking prints what is in the file."""
    made = vcache("trust", "new", "ci", "--out", "ci.key")
    secret = Path("ci.key").read_text().strip().rpartition(":")[2]
    for done in (made, vcache("trust", "show", "ci.key"), vcache("--json", "trust", "show", "ci.key")):
        assert secret not in done.output


def test_namespaces_and_names_are_quoted(vcache: Run) -> None:
    """The printed policy is TOML whatever the patterns and the name look like."""
    arguments = ("--may-write", "", "--may-write", 'a"b\\*', "--out", "k")
    made = vcache("trust", "new", "ci@example.org", *arguments)
    table = tomllib.loads(made.stdout)
    assert table["keys"]["ci@example.org"]["namespaces"] == ["", 'a"b\\*']


def test_json_names_the_file_and_the_key(vcache: Run) -> None:
    """--json is one object, or for a policy a list of them."""
    made = json.loads(vcache("trust", "new", "ci", "--out", "ci.key", "--json").stdout)
    assert made["name"] == "ci"
    assert made["file"] == "ci.key"
    Path("p.toml").write_text(f'[keys.ci]\npublic = "{made["public"]}"\nnamespaces = ["*"]\nrevoked = true\n')
    checked = vcache("trust", "check", "p.toml", "--json")
    (row,) = json.loads(checked.stdout)
    assert row == {
        "name": "ci", "public": made["public"], "namespaces": ["*"], "not_before_ns": None, "not_after_ns": None,
        "state": "revoked",
    }  # fmt: skip
    assert checked.exit_code == 1


def test_states_are_told(vcache: Run) -> None:
    """What may sign today, and what not yet or no longer."""
    lines = []
    for name, field in {
        "early": "not_before = 2199-01-01T00:00:00Z",
        "expired": "not_after = 2001-01-01T00:00:00Z",
        "revoked": "revoked = true",
        "valid": "not_before = 2001-01-01T00:00:00Z\nnot_after = 2199-01-01T00:00:00Z",
    }.items():
        lines += [vcache("trust", "new", name, "--out", f"{name}.key").stdout, field]
    Path("p.toml").write_text("\n".join(lines))
    done = vcache("trust", "check", "p.toml")
    assert done.exit_code == 0
    for name in ("early", "expired", "revoked", "valid"):
        assert any(line.split()[:2] == [name, name] for line in done.stdout.splitlines())


def test_a_key_to_encrypt_with_is_made(vcache: Run) -> None:
    """32 random bytes that only the owner can read."""
    assert vcache("trust", "encrypt-key", "--out", "one").exit_code == 0
    assert vcache("trust", "encrypt-key", "--out", "two").exit_code == 0
    assert len(read_secret("one")) == 32
    assert read_secret("one") != read_secret("two")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "a b", "--out", "k"), "is not a producer's name"),
        (("new", "ci", "--out", "there"), "there: is there already; a key is never overwritten"),
        (("new", "ci", "--out", "no/such/place"), "no/such/place: No such file or directory"),
        (("encrypt-key", "--out", "there"), "there: is there already"),
        (("show", "absent"), "absent: No such file or directory"),
        (("show", "there"), "there: holds no private key"),
        (("show", "open"), "open: holds a secret that others can read or change (mode 0644): chmod 600 open"),
        (("check", "absent"), "absent: No such file or directory"),
        (("check", "there"), "there: not TOML"),
        (("check", "empty"), "empty: trusts nobody"),
    ],
)
def test_mistakes_are_said_in_words(vcache: Run, arguments: tuple[str, ...], words: str) -> None:
    """The file and the remedy, and no file is left behind."""
    Path("there").write_text("something\n")
    Path("there").chmod(0o600)
    Path("open").write_text("vcache-ed25519-private:ci:AAAA\n")
    Path("open").chmod(0o644)
    Path("empty").write_text("")
    done = vcache("trust", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not Path("k").exists()
    assert Path("there").read_text() == "something\n"
