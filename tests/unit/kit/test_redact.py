"""Secrets in addresses."""

from __future__ import annotations

import pytest

from vcache.kit.redact import without_secrets
from vcache.store.address import parse_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:secret@host/0?a=b", "redis://:…@host/0?a=b"),
        ("https://me:secret@host:80/x@y?q=c@d", "https://me:…@host:80/x@y?q=c@d"),
        ("redis+unix://me:s@cret@/run/sock", "redis+unix://me:…@/run/sock"),
        ("https://host:80/x@y", "https://host:80/x@y"),
        ("s3://bucket?secret=a&region=b&auth_token=c", "s3://bucket?secret=…&region=b&auth_token=…"),
        ("disk:a//b:c", "disk:a//b:c"),
        ("/path/with/a@sign", "/path/with/a@sign"),
    ],
)
def test_a_password_is_not_shown(text: str, expected: str) -> None:
    """Everything but the password is."""
    assert without_secrets(text) == expected
    assert str(parse_url(text)) == expected
