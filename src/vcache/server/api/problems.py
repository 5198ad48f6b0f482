"""Errors of the API as JSON (RFC 9457): what is wrong, and the kind of it."""

from __future__ import annotations

import json
from http import HTTPStatus

from vcache.server.dialect import Answer
from vcache.server.phrases import BEARER
from vcache.server.refused import Refusal, Refused

__all__ = ["PROBLEM_TYPE", "problem"]

PROBLEM_TYPE = "application/problem+json"


def problem(refused: Refused) -> Answer:
    """A refusal as the API phrases it."""
    status = refused.kind.value
    body = {
        "type": f"urn:vcache:{refused.kind.name.lower()}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(refused),
        **getattr(refused, "details", {}),
    }
    headers = [("content-type", PROBLEM_TYPE)]
    if refused.kind is Refusal.UNAUTHENTICATED:
        headers.append(BEARER)
    return status, headers, json.dumps(body).encode()
