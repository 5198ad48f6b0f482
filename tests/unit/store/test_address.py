"""What an address shows of itself. How it is taken apart: test_url.py."""

from __future__ import annotations

import pytest

from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.url import open_store


@pytest.mark.parametrize("query", ["?unknown=1", "?deadline=soon", "?a", "?a=1&a=2"])
def test_no_mistake_shows_a_password(query: str) -> None:
    """Whatever is wrong with an address, its password is in no message."""
    for scheme in ("redis", "https", "s3", "reapi", "redis+unix", "other"):
        with pytest.raises(ConfigError) as caught:
            open_store(f"{scheme}://me:hunter2@host/path{query}")
        assert "hunter2" not in str(caught.value), scheme


def test_an_option_that_does_not_fit_is_shown_without_the_password() -> None:
    """The option's own text is, as it is what was wrong."""
    options = Options(parse_url("redis://:hunter2@host?n=x"))
    with pytest.raises(ConfigError, match="n='x'") as caught:
        options.take("n", int)
    assert "hunter2" not in str(caught.value)


def test_the_options_that_are_known_are_told_once() -> None:
    """Also one that the guard and the store both heed."""
    with pytest.raises(ConfigError) as caught:
        open_store("http://host/path?unknown=1")
    assert str(caught.value).count(" limit,") == 1
