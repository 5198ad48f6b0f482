"""The API against its own description, by schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import vcache_serve
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile

pytestmark = pytest.mark.e2e

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method",
)  # fmt: skip


def test_the_api_does_what_its_description_says(tmp_path: Path) -> None:
    """Whatever fits the description or does not is answered as described, and never with a fault."""
    file = TokenFile(tmp_path / "tokens.json")
    _, token = file.add(Role.ADMIN, "main")
    with vcache_serve(tmp_path / "store", "--tokens", tmp_path / "tokens.json") as server:
        done = subprocess.run(
            [
                os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run",
                f"{server.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {token}",
                "--phases", "coverage,fuzzing", "--max-examples", "25", "--checks", ",".join(CHECKS),
                "--no-color", "--generation-deterministic",
                "--exclude-path", "/api/v1/logs/tail", "--exclude-path", "/api/v1/jobs/{id}/events",  # which have no end
                "--exclude-operation-id", "show_job",  # which waits for as long as it is told
            ],
            capture_output=True, text=True, check=False, cwd=tmp_path, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + server.log.read_text()[-3000:]
    assert "Tested: 44" in done.stdout
