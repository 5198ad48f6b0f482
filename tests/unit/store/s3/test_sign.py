"""Signatures of S3: those of Amazon's own examples, and those that botocore makes."""

from __future__ import annotations

import datetime as dt

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs

from vcache.hash import sha256
from vcache.store.s3.sign import Credentials, Signer, query_of

# "Signature Calculations for the Authorization Header", Amazon S3 API Reference: 24 May 2013.
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_S = 1_369_353_600
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "path", "query", "content", "more", "signature"),
    [
        (
            "GET", "/test.txt", "", b"", {"range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "/test%24file.text", "", b"Welcome to Amazon S3.",
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET", "/", query_of({"prefix": "J", "max-keys": "2"}), b"", {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_amazons_own_examples(method, path, query, content, more, signature):
    """What Amazon publishes as examples comes out."""
    signer = Signer(EXAMPLE_HOST, region="us-east-1")
    headers = signer.headers(
        method, path, query, credentials=EXAMPLE, now_s=EXAMPLE_S, content=sha256(content).hex(), more=more
    )
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert headers["x-amz-date"] == "20130524T000000Z"


@pytest.mark.parametrize("token", ["", "session/token=="])
@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("path", ["/b/p/00ff~", "/b/%C3%A9%2B%20x/00", "/"])
@pytest.mark.parametrize("query", [{}, {"uploads": ""}, {"uploadId": "a/b+c=", "partNumber": "7"}])
def test_it_is_botocores(token, method, path, query):
    """The same request at the same time has the same signature."""
    body = b"content" if method == "PUT" else b""
    more = {"x-amz-storage-class": "STANDARD_IA"} if body else {}
    request = AWSRequest(method, f"http://127.0.0.1:9000{path}", headers=dict(more), data=body, params=query)
    request.context["payload_signing_enabled"] = True
    auth.S3SigV4Auth(Theirs("AK", "SK", token or None), "s3", "eu-west-1").add_auth(request)
    stamp = dt.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    ours = Signer("127.0.0.1:9000", region="eu-west-1").headers(
        method,
        path,
        query_of(query),
        credentials=Credentials("AK", "SK", token),
        now_s=int(stamp.replace(tzinfo=dt.UTC).timestamp()),
        content=sha256(body).hex(),
        more=more,
    )
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token", "") == token


def test_a_key_of_yesterday_or_another_secret_is_not_used_again():
    """What is kept for a day is of that day and those credentials."""
    signer = Signer("host", region="r")

    def signed(secret: str, now_s: int) -> str:
        fresh = Signer("host", region="r")
        of = Credentials("AK", secret)
        kept = signer.headers("GET", "/", "", credentials=of, now_s=now_s)["authorization"]
        assert kept == fresh.headers("GET", "/", "", credentials=of, now_s=now_s)["authorization"]
        return kept

    assert len({signed("one", 0), signed("two", 0), signed("two", 86_400), signed("two", 0)}) == 3


def test_credentials_are_not_printed():
    """Neither secret nor token is in what is logged."""
    shown = (
        f"{Credentials('AKIA12345678', 'secret', 'token')!r} {Credentials('AKIA12345678', 'secret', 'token')}"
    )
    assert "secret" not in shown
    assert "token" not in shown
    assert "AKIA12345678" not in shown
