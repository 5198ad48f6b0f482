"""What WebDAV servers say of a directory."""

from __future__ import annotations

import pytest

from vcache.errors import DecodeError
from vcache.store.http.dav import names_in

NGINX = b"""<?xml version="1.0" encoding="utf-8" ?>
<D:multistatus xmlns:D="DAV:">
<D:response><D:href>/base/vcache/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/base/vcache/006b</D:href><D:propstat><D:prop><D:resourcetype></D:resourcetype></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"""
# Another prefix, absolute addresses, a directory without a slash, percent signs, and other properties.
APACHE = b"""<?xml version="1.0"?><multistatus xmlns="DAV:" xmlns:lp1="DAV:">
<response><href>http://h:1/base/vcache/%7Eab</href><propstat><prop><lp1:resourcetype/></prop></propstat></response>
<response xmlns:x="other:"><x:href>/wrong</x:href><href>
  /base/vcache/00ff
</href><propstat><prop><resourcetype/></prop></propstat></response>
<response><href>/base/vcache/sub</href><propstat><prop><resourcetype><collection/></resourcetype></prop></propstat></response>
</multistatus>"""


@pytest.mark.parametrize(("answer", "names"), [(NGINX, ["006b"]), (APACHE, ["~ab", "00ff"])])
def test_files_are_named(answer: bytes, names: list[str]) -> None:
    """the last part of each file's path is found, whatever the server's taste in XML"""
    assert names_in(answer) == names


def test_a_long_listing_is_read_in_pieces() -> None:
    """names are whole where the reader's pieces end"""
    wanted = [f"{number:0200x}" for number in range(2000)]
    rows = "".join(f"<r:response><r:href>/b/{name}</r:href></r:response>" for name in wanted)
    assert names_in(f'<r:multistatus xmlns:r="DAV:">{rows}</r:multistatus>'.encode()) == wanted


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"<", b"<a><b></a>", b"text", b"<!DOCTYPE a><a/>", b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b"<a>&unknown;</a>", b"\xff\xfe\x00",
    ],
)  # fmt: skip
def test_what_is_no_listing_is_refused(answer: bytes) -> None:
    """anything but XML without a document type is an error"""
    with pytest.raises(DecodeError):
        names_in(answer)
