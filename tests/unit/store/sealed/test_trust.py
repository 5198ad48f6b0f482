from __future__ import annotations

import base64
import tomllib

import pytest

from vcache.errors import ConfigError, UsageError
from vcache.store.sealed.crypto import Signer, Verifier
from vcache.store.sealed.statement import Statement
from vcache.store.sealed.trust import _WEAK, Policy, Producer, public_key, public_text

CI = public_text(Signer(b"1" * 32).public)
DEV = public_text(Signer(b"2" * 32).public)


def parsed(text: str) -> Policy:
    return Policy.parse(tomllib.loads(text.replace("CI", CI).replace("DEV", DEV)), "policy.toml")


def test_a_policy_is_read() -> None:
    """Every field of the page, and what holds where one is left out."""
    policy = parsed(
        """
        [keys.ci]
        public = "CI"
        namespaces = ["", "release/*"]
        not_before = 2026-01-01T00:00:00Z
        not_after = 2027-01-01T01:00:00.000001+01:00
        revoked = false

        [keys."ada@example.org"]
        public = "DEV"
        namespaces = ["*"]
        revoked = true
        """
    )
    assert policy.producers["ci"] == Producer(
        "ci",
        Signer(b"1" * 32).public,
        ("", "release/*"),
        1_767_225_600 * 10**9,
        1_798_761_600 * 10**9 + 1000,
        is_revoked=False,
    )
    other = policy.producers["ada@example.org"]
    assert (other.not_before_ns, other.not_after_ns, other.is_revoked) == (None, None, True)
    assert {producer.name for producer in policy} == {"ci", "ada@example.org"}


_GOOD = '[keys.ci]\npublic = "CI"\nnamespaces = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "policy.toml: trusts nobody"),
        ("[keys]", "trusts nobody"),
        ("keys = 3", "trusts nobody"),
        ("[key.ci]", "unknown word 'key'; did you mean 'keys'?"),
        ("[keys]\nci = 3", r"\[keys.ci\] is 3, not a table"),
        ('[keys.ci]\nnamespaces = ["*"]', r"\[keys.ci\]: public is missing"),
        ('[keys.ci]\npublic = "CI"', "namespaces is missing"),
        (_GOOD.replace('["*"]', '"*"'), "write a list of shell patterns"),
        (_GOOD.replace('["*"]', "[1]"), "write a list of shell patterns"),
        (_GOOD.replace('"CI"', "3"), "public = 3: write text"),
        (_GOOD.replace("ed25519", "rsa").replace("CI", "rsa:AAAA"), "is no public key"),
        (_GOOD + "revoked = 'no'", "revoked = 'no': write true or false"),
        (_GOOD + "not_after = 2026-01-01T00:00:00", "write a moment with its zone"),
        (_GOOD + "not_after = 2026-01-01", "write a moment with its zone"),
        (_GOOD + "not_after = 1767225600", "write a moment with its zone"),
        (
            _GOOD + "not_before = 2026-01-01T00:00:00Z\nnot_after = 2026-01-01T00:00:00Z",
            "the key is never valid",
        ),
        (_GOOD + "not_befor = 2026-01-01T00:00:00Z", "unknown word 'not_befor'; did you mean 'not_before'"),
        (_GOOD + _GOOD.replace("keys.ci", "keys.dev"), "ci and dev have one key"),
        (_GOOD.replace("keys.ci", 'keys."a b"'), "'a b' is not a producer's name"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, words: str) -> None:
    """The file, the key, the word, and what to write."""
    with pytest.raises(ConfigError, match=words):
        parsed(text)


def test_one_key_has_one_text() -> None:
    """Other encodings of the same bytes, and bytes of another number, are refused."""
    data = Signer(b"1" * 32).public
    assert public_key(public_text(data)) == data
    plain = base64.b64encode(data).decode()
    for text in (
        plain,
        "ed25519:" + plain.rstrip("="),
        "ed25519:" + plain + "\n",
        "ed25519: " + plain,
        "ED25519:" + plain,
        "ed25519:" + plain[:-2] + chr(ord(plain[-2]) + 1) + "=",  # spare bits set
        "ed25519:" + base64.b64encode(data + b"\0").decode(),
        "ed25519:" + base64.b64encode(data[:31]).decode(),
        "ed25519:ä",
    ):
        with pytest.raises(UsageError, match="is no public key"):
            public_key(text)


def test_keys_under_which_anyone_can_sign_are_refused() -> None:
    """Points of small order let one signature stand for many statements: no policy may name one."""
    forged = b"\1" + bytes(63)  # the neutral point and the number 0
    for number in _WEAK:
        for sign in (0, 1 << 255):
            data = (number | sign).to_bytes(32, "little")
            with pytest.raises(UsageError, match="anyone can sign"):
                public_key(public_text(data))
        # … and with good reason: nobody has a private key, yet some messages are "signed".
        weak = Verifier(number.to_bytes(32, "little"))
        assert any(weak.holds(forged, b"%d" % message) for message in range(200))
    for number in (2**255 - 19, 2**255 - 18, 2**255 - 1):
        with pytest.raises(UsageError, match="anyone can sign"):
            public_key(public_text(number.to_bytes(32, "little")))


def test_real_keys_are_not_weak() -> None:
    """The check refuses no key that was made as keys are."""
    for number in range(100):
        public = Signer(bytes([number]) * 32).public
        assert public_key(public_text(public)) == public


@pytest.mark.parametrize(
    ("patterns", "namespace", "may"),
    [
        (["*"], "", True),
        (["*"], "a/b", True),
        ([""], "", True),
        ([""], "a", False),
        ([], "", False),
        (["release/*"], "release/1/2", True),
        (["release/*"], "release", False),
        (["release/*"], "prerelease/1", False),
        (["Release"], "release", False),
        (["a", "b?"], "b1", True),
        ([".*"], ".seen", True),
        (["[ab]"], "b", True),
    ],
)
def test_patterns_are_of_the_shell(patterns: list[str], namespace: str, may: bool) -> None:
    """The whole namespace has to fit one pattern, case and all."""
    assert Producer("ci", b"", tuple(patterns)).may_write(namespace.encode()) is may


def test_a_namespace_that_is_no_text_is_matched_too() -> None:
    """Keys are bytes: no key raises here."""
    assert Producer("ci", b"", ("*",)).may_write(b"\xff")
    assert not Producer("ci", b"", ("a",)).may_write(b"\xff")


def test_revocation_comes_first() -> None:
    """Why a record is refused does not depend on what else is wrong with it."""
    producer = Producer("ci", b"", (), not_after_ns=0, is_revoked=True)
    said = Statement(b"x", b"", b"", b"", b"", "ci", 1)
    assert producer.objection(said, 0) == "revoked key"
