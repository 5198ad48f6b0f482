"""What is taken for a secret, and what is not."""

from __future__ import annotations

import random
import string

import pytest

from vcache.errors import UsageError
from vcache.logs.front.secrets import HIDDEN, Redactor, is_suspicious
from vcache.logs.record import Mark, Record

REDACTOR = Redactor()
GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://bob:hunter2@host/x?y=1", "GET https://bob:[REDACTED]@host/x?y=1"),
        ("redis://:pw@host", "redis://:[REDACTED]@host"),
        ("https://host/x?token=abc&user=1", "https://host/x?token=[REDACTED]&user=1"),
        ("DB_PASSWORD=hunter2 make", "DB_PASSWORD=[REDACTED] make"),
        ('--password="a b" x', '--password="[REDACTED] b" x'),
        ("aws_secret_access_key=abc/def+1", "aws_secret_access_key=[REDACTED]"),
        ("https://bob:p@ss@host/x", "https://bob:[REDACTED]@host/x"),
        ("MYSQL_PASSWORD=123456 make", "MYSQL_PASSWORD=[REDACTED] make"),
        ("authorization=Bearer abcdef", "authorization=Bearer [REDACTED]"),
        ('{"token":"abc", "n": 1}', '{"token":"[REDACTED]", "n": 1}'),
        ('{"password": "correct \\"horse", "n": 1}', '{"password": "[REDACTED]", "n": 1}'),
        ("login --password hunter2 -v", "login --password [REDACTED] -v"),
        ("API-KEY='xyz'", "API-KEY='[REDACTED]'"),
        ("password: hunter2", "password: [REDACTED]"),
        ('{"secret": "abc123x"}', '{"secret": "[REDACTED]"}'),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic [REDACTED]"),
        ("sent Bearer abc.def-123", "sent Bearer [REDACTED]"),
        ("BEARER 0123456789abcdef", "BEARER [REDACTED]"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key [REDACTED] used"),
        (f"clone with {GITHUB}!", "clone with [REDACTED]!"),
        ("github_pat_" + "A" * 22, HIDDEN),
        ("glpat-" + "x" * 20, HIDDEN),
        ("xoxb-1234567890-abc", HIDDEN),
        (f"jwt {JWT}", "jwt [REDACTED]"),
        ("AIza" + "Z" * 35, HIDDEN),
        ("sk_live_" + "0" * 16, HIDDEN),
        (f"wrote {KEY} to disk", "wrote [REDACTED] to disk"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", HIDDEN),
        ("é password=ü", "é password=[REDACTED]"),
        ("\udc80 password=x", "\udc80 password=[REDACTED]"),
    ],
)
def test_texts_with_secrets(text, shown):
    """Only the secret is taken out; what names it stays."""
    assert REDACTOR.text(text) == shown
    assert is_suspicious(text)
    assert not Redactor().is_clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "compiled src/lib/token.c in 12 ms",
        "error: expected unqualified-id before ';' token: found '}'",
        "gcc -DMAX_TOKENS=512 -Isecret/include",
        "max_tokens=512 tokens_used=17 token_count=3",
        "wrong password: try again",
        "give --password or --token on the command line",
        "--token --level=5",
        "bearer of bad news",
        "Bearer authentication failed",
        "mail bob@example.org about http://host:80/x",
        "git@github.com:org/repo.git",
        "digest=9f86d081884c7d659a2feaa0c55ad015 size=12",
        "ghp_short, xoxb-1, eyJ, AKIA",
        "-----BEGIN CERTIFICATE-----",
        "secret: no",
        "path=/a/b:/c/d @ 12:30",
    ],
)
def test_texts_without(text):
    """They stay as they are, the very same."""
    assert REDACTOR.text(text) is text
    assert Redactor().is_clean(text)


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "passwd", "pwd", "db.pwd", "passphrase", "secret", "client_secret",
        "clientSecret", "token", "access_token", "authToken", "id_token", "authorization", "Authorization", "api_key",
        "apikey", "apiKey", "X-Api-Key", "aws_access_key", "private_key", "cookie", "Set-Cookie", "credentials",
        "http.auth", "session_id", "config.db.password",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    """A field of that name is hidden, whatever its value is."""
    assert REDACTOR.fields({name: "x", "other": 1}) == {name: HIDDEN, "other": 1}
    assert REDACTOR.fields({name: 5}) == {name: HIDDEN}
    assert name not in REDACTOR.clean_names


@pytest.mark.parametrize(
    "name",
    [
        "tokens", "max_tokens", "token_count", "tokenCount", "password_length", "author", "authority", "key", "keys",
        "action_key", "cwd", "passed", "passes", "session", "secret_type", "token.kind", "cookie_size", "target", "auth_ms",
    ],
)  # fmt: skip
def test_names_of_none(name):
    """A field of that name stays, and is not asked for again."""
    fields = {name: "x"}
    redactor = Redactor()
    assert redactor.fields(fields) is fields


def test_a_record():
    """It is marked when something was taken out, and else the very same."""
    clean = Record(1, message="m", fields={"a": 1})
    assert REDACTOR.record(clean) is clean
    found = REDACTOR.record(Record(1, message="token=abc", fields={"a": "Bearer abcdef12"}, marks=1))
    assert found == Record(
        1, message="token=[REDACTED]", fields={"a": "Bearer [REDACTED]"}, marks=1 | Mark.REDACTED
    )


def test_ones_own():
    """Names, patterns and a function of one's own come on top; a function that fails hides all."""
    redactor = Redactor(["pin"], [r"card-\d+", r"iban (\w+)(?: x)?"], lambda text: text.replace("Bob", "?"))
    assert redactor.fields({"PIN": 1, "x": "card-12 iban DE12 Bob"}) == {
        "PIN": HIDDEN, "x": f"{HIDDEN} iban {HIDDEN} ?",
    }  # fmt: skip
    assert not redactor.is_plain and Redactor(["pin"]).is_plain
    assert Redactor(also=lambda text: text[99]).text("abc") == HIDDEN
    with pytest.raises(UsageError, match=r"pattern '\(' of secrets"):
        Redactor(patterns=["("])


def test_what_is_remembered_is_bounded():
    """Texts and names that are made up at run time do not fill memory."""
    redactor = Redactor()
    for number in range(20_000):
        redactor.is_clean(f"text {number}")
        redactor.is_secret_name(f"name{number}")
    redactor.is_clean("x" * 1000)
    assert len(redactor.clean_texts) <= 8192 and len(redactor.clean_names) <= 4096
    assert "x" * 1000 not in redactor.clean_texts


def test_odd_texts_take_no_time():
    """No text makes the patterns go back and forth: a megabyte of each is read within a minute."""
    draw = random.Random(0)
    pieces = [
        "password",
        "=",
        ":",
        "://",
        "@",
        "a" * 50,
        "token",
        " ",
        '"',
        "bearer ",
        "eyJ",
        "-----BEGIN ",
        "_-.",
    ]
    for piece in pieces:
        REDACTOR.text("password=" + piece * (100_000 // len(piece)))
    REDACTOR.text("".join(draw.choices(pieces, k=20_000)))
    REDACTOR.text("".join(draw.choices(string.printable, k=100_000)) + "token=")


@pytest.mark.parametrize(
    "part",
    [
        "a", ".", "key ", "password", "://", "://a:", "secret:", "authorization: ", "eyJ-", "ghp_", "bearer ", "--key ",
        "--", '"token', "api_", "-----BEGIN A",
    ],
)  # fmt: skip
def test_a_long_text_takes_time_in_proportion(part):
    """A long line stops no program, whatever it repeats."""
    text = part * ((1 << 17) // len(part)) + " key=: bearer"
    assert REDACTOR.text(text) is not None
