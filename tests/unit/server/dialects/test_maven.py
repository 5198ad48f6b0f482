"""Maven's dialect, by the requests that Maven Resolver is documented to send."""

from __future__ import annotations

import pytest

from tests.unit.server.dialects.asking import READER
from vcache.server.dialects.maven import Maven
from vcache.server.refused import Refusal, Refused

BASE = "/maven/v1.1/org.example/app/0123456789abcdef"
INFO = f"{BASE}/buildinfo.xml"
INTERIM = b'<?xml version="1.0"?><build xmlns="x"><cacheImplementationVersion>v1</cacheImplementationVersion></build>'
FINAL = b'<?xml version="1.0"?><build xmlns="x"><final>true</final><goals/></build>'


def test_files_are_given_back(asker) -> None:
    """Artifacts first, then the buildinfo.xml that names them; HEAD tells the length."""
    ask = asker(Maven())
    assert ask("GET", INFO).status == 404
    assert ask("PUT", f"{BASE}/app.jar", b"PK jar").status == 201
    assert ask("PUT", INFO, INTERIM).status == 201
    assert ask("PUT", INFO, INTERIM).status == 204
    assert ask("GET", f"{BASE}/app.jar").body == b"PK jar"
    assert ask("HEAD", INFO).headers["content-length"] == str(len(INTERIM))


def test_a_part_is_given_where_it_is_asked_for(asker) -> None:
    """As a transport resumes a download."""
    ask = asker(Maven())
    ask("PUT", f"{BASE}/app.jar", b"0123456789")
    reply = ask("GET", f"{BASE}/app.jar", headers={"range": "bytes=4-"})
    assert (reply.status, reply.body, reply.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")


def test_a_final_build_is_not_replaced(asker) -> None:
    """`remote.save.final` holds here as well; an interim build gives way."""
    ask = asker(Maven())
    ask("PUT", INFO, INTERIM)
    assert ask("PUT", INFO, FINAL).status == 204
    assert ask("PUT", INFO, INTERIM).status == 409
    assert ask("GET", INFO).body == FINAL


def test_webdav_transports_are_content(asker) -> None:
    """Directories are made by saying so."""
    ask = asker(Maven())
    assert ask("MKCOL", f"{BASE}/").status == 201
    assert ask("OPTIONS", "/maven/").headers["dav"] == "1"
    assert ask("POST", INFO).status == 405


@pytest.mark.parametrize(
    "path", ["/maven/", "/maven/a//b", "/maven/../x", "/maven/a/%0a", "/maven/" + "n" * 1100]
)
def test_odd_names_are_refused(asker, path) -> None:
    """Empty and relative parts, control characters, endless ones."""
    assert asker(Maven())("GET", path).status == 400


def test_a_password_is_asked_for(asker) -> None:
    """Resolver sends none before 401 with a challenge; a reader writes nothing."""
    ask = asker(Maven())
    ask.caller = Refused(Refusal.UNAUTHENTICATED, "no token")
    reply = ask("GET", INFO)
    assert (reply.status, reply.headers["www-authenticate"].split()[0]) == (401, "Basic")
    ask.caller = READER
    assert [ask(method, INFO, b"1").status for method in ("PUT", "MKCOL")] == [403, 403]
