from __future__ import annotations

import pytest

from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.redis.address import Address, address_of


def read(text: str, **environment: str) -> Address:
    url = parse_url(text)
    return address_of(url, Options(url), environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://host", ("host", 6379, "", 0, None, None, False)),
        ("redis://host:7000/", ("host", 7000, "", 0, None, None, False)),
        ("redis://host/5", ("host", 6379, "", 5, None, None, False)),
        ("redis://host?db=5", ("host", 6379, "", 5, None, None, False)),
        ("rediss://h:1/2", ("h", 1, "", 2, None, None, True)),
        ("redis://:secret@h", ("h", 6379, "", 0, None, "secret", False)),
        ("redis://me:secret@h", ("h", 6379, "", 0, "me", "secret", False)),
        ("redis://me@h", ("h", 6379, "", 0, "me", None, False)),
        ("redis://me:p%40a:b%2Fc@h:9/1", ("h", 9, "", 1, "me", "p@a:b/c", False)),
        ("redis://[::1]", ("::1", 6379, "", 0, None, None, False)),
        ("redis://[::1]:7/3", ("::1", 7, "", 3, None, None, False)),
        ("redis+unix:///run/r.sock", ("", 0, "/run/r.sock", 0, None, None, False)),
        ("redis+unix://me:pw@/run/r.sock?db=4", ("", 0, "/run/r.sock", 4, "me", "pw", False)),
    ],
)
def test_an_address_is_taken_apart(text: str, expected: tuple[object, ...]) -> None:
    """Host, port, socket, database, user, password, TLS."""
    assert tuple(read(text))[:-1] == expected


def test_a_password_comes_from_the_environment() -> None:
    """`password_env` names a variable; the address need not hold the secret."""
    assert read("redis://me@h?password_env=PW", PW="secret").password == "secret"
    with pytest.raises(ConfigError, match="password_env names a variable that is not set") as caught:
        read("redis://h?password_env=hush")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["redis://me:secret@h:1/2", "redis+unix://me:secret@/s", "redis://:secret@h"]
)
def test_a_password_is_not_shown(text: str) -> None:
    """What is printed of an address does not hold its password."""
    address = read(text)
    assert "secret" not in address.shown + repr(address) + str(address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis:host", "write redis://"),
        ("redis://", "names no host"),
        ("redis://:secret@", "names no host"),
        ("redis://:secret@h:port", "'port' is no port"),
        ("redis://h:99999", "'99999' is no port"),
        ("redis://h/zero", "'zero' is no number of a database"),
        ("redis://h?db=-1", "'-1' is no number of a database"),
        ("redis+unix://run/sock", "names no socket"),
    ],
)
def test_a_wrong_address_is_said_in_words(text: str, words: str) -> None:
    """What is wrong, and how it is written; never the password."""
    with pytest.raises(ConfigError, match=words) as caught:
        read(text)
    assert "secret" not in str(caught.value)
