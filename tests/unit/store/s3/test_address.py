"""What an `s3://` address may say."""

from __future__ import annotations

import pytest

from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.s3.address import Place, place_of


def place(text: str) -> Place:
    url = parse_url(text)
    options = Options(url)
    found = place_of(url, options)
    options.finish()
    return found


def test_a_bucket_is_enough(monkeypatch):
    """All else comes from the settings of AWS."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert place("s3://cache.example-1") == Place(
        "cache.example-1", "", None, None, None, True, False, None, {}, "s3://cache.example-1"
    )
    assert not place("s3://cache").path_style


def test_everything_can_be_said():
    """Prefix, server, region, profile, style, and what each object is told."""
    found = place(
        "s3://b-1/ci/main/?endpoint=http%3A//127.0.0.1%3A9000/s3/&region=eu-west-1&profile=ci&path_style=0"
        "&storage_class=STANDARD_IA&sse=aws:kms&sse_key=arn:1&anonymous=1&ca=/x.pem"
    )
    assert found.prefix == "ci/main/"
    assert found.endpoint == "http://127.0.0.1:9000/s3"
    assert (found.region, found.profile, found.path_style, found.is_anonymous) == (
        "eu-west-1",
        "ci",
        False,
        True,
    )
    assert found.ca == "/x.pem"
    assert found.headers == {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:1",
        "x-amz-storage-class": "STANDARD_IA",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3:bucket", "is not the name of a bucket"),
        ("s3://", "is not the name of a bucket"),
        ("s3:///prefix", "is not the name of a bucket"),
        ("s3://b", "is not the name of a bucket"),
        ("s3://bu cket", "is not the name of a bucket"),
        ("s3://-bucket", "is not the name of a bucket"),
        ("s3://bucket/../other", "'.' or '..'"),
        ("s3://bucket/a//b", "empty part"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "not the address of a server"),
        ("s3://bucket?endpoint=file:///etc", "not the address of a server"),
        ("s3://bucket?endpoint=http://h?x=1", "not the address of a server"),
        ("s3://bucket?sse=md5", "write one of AES256"),
        ("s3://bucket?region=", "it is empty"),
        ("s3://bucket?storage_class=A%0D%0AX:1", "spaces"),
        ("s3://bucket?regoin=x", "did you mean 'region'"),
        ("s3://bucket?path_style=perhaps", "neither yes nor no"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, said):
    """The message has the address and the remedy."""
    with pytest.raises(ConfigError) as caught:
        place(text)
    assert said in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text", ["s3://AKID:hush-hush@bucket/p", "s3://AKID:hush-hush@bucket", "s3://hush-hush@bucket/p"]
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text):
    """Addresses are shown in messages and logs: a secret must not be in one."""
    with pytest.raises(ConfigError, match="credentials do not belong") as caught:
        place(text)
    assert "hush-hush" not in str(caught.value)


def test_a_secret_in_an_endpoint_is_refused_and_not_repeated():
    """Nor in the address of the server."""
    with pytest.raises(ConfigError, match="credentials do not belong") as caught:
        place("s3://bucket?endpoint=http://user:hush-hush@host")
    assert "hush-hush" not in str(caught.value)
