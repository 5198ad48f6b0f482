from __future__ import annotations

from typing import Any

import pytest

from vcache.errors import DecodeError, EncodeError, UsageError
from vcache.kit import plugin
from vcache.serialize import dump, load, register, registry, unregister


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


class Points:
    name = "points"

    def takes(self, value: object) -> bool:
        return isinstance(value, Point)

    def dump(self, value: object) -> list[bytes]:
        assert isinstance(value, Point)
        return [b"pt", value.x.to_bytes(4, "big")]

    def load(self, content) -> object:
        data = bytes(content)
        if data[:2] != b"pt":
            raise ValueError("no point")
        return Point(int.from_bytes(data[2:], "big"))


class Broken(Points):
    name = "broken"

    def dump(self, value: object) -> list[bytes]:
        raise RuntimeError("dump failed")


class Rude(Points):
    name = "rude"

    def takes(self, value: object) -> bool:
        raise RuntimeError("takes failed")


@pytest.fixture
def offered(monkeypatch):
    """What plug-ins offer, as if they were installed."""
    state: dict[str, Any] = {"found": {}, "failures": (), "asked": 0}

    def load_all(group):
        assert group == plugin.CODECS
        state["asked"] += 1
        return plugin.Loaded(state["found"], state["failures"])

    monkeypatch.setattr(plugin, "load_all", load_all)
    yield state
    for name in ("points", "broken", "rude"):
        unregister(name)


def test_a_registered_codec_takes_its_values(offered):
    """A registered codec stores what no built-in takes, as a root and as a part."""
    register(Points())
    packed = dump(Point(7))
    assert packed.codec == "points"
    assert load("points", b"".join(packed.parts)).x == 7  # type: ignore[attr-defined]
    packed = dump({"a": [Point(8)]})
    assert packed.codec == "msgpack"
    assert load("msgpack", b"".join(packed.parts))["a"][0].x == 8  # type: ignore[index]


def test_a_codec_of_a_plugin(offered):
    """A plug-in's codec, given as an object or as a class, stores and loads."""
    for offer in (Points(), Points):
        offered["found"] = {"any": offer}
        packed = dump(Point(7))
        assert packed.codec == "points"
        assert load("points", b"".join(packed.parts)).x == 7  # type: ignore[attr-defined]
        assert dump(Point(1), codec="points").codec == "points"


def test_plugins_are_not_asked_without_need(offered):
    """Values of built-in codecs never cause a look at the plug-ins."""
    for value in (b"x", "x", {"a": (1, {2})}, ValueError("x")):
        packed = dump(value)
        load(packed.codec, b"".join(packed.parts))
    assert offered["asked"] == 0


def test_a_broken_plugin_is_named_where_it_is_missed(offered):
    """The failure of a plug-in is part of the error of a value that it might have taken."""
    offered["failures"] = ("plug-in 'p' of distribution 'd' failed to load: boom",)
    offered["found"] = {"shapeless": object()}
    with pytest.raises(EncodeError, match=r"distribution 'd'.*boom.*'shapeless'.*no codec"):
        dump([Point(1)])
    with pytest.raises(DecodeError, match="boom"):
        load("points", b"")


def test_a_codec_that_fails_breaks_no_other(offered):
    """A codec that raises when asked is passed over; one that raises when used is named."""
    register(Rude())
    register(Points())
    assert dump(Point(1)).codec == "points"
    unregister("points")
    register(Broken())
    with pytest.raises(EncodeError, match=r"broken.*dump failed"):
        dump(Point(1))


def test_content_that_a_codec_refuses(offered):
    """A codec's own error on content becomes a DecodeError."""
    register(Points())
    with pytest.raises(DecodeError, match=r"points.*no point"):
        load("points", b"xx")


def test_an_unknown_codec(offered):
    """A codec that nobody offers is a DecodeError on content and an EncodeError on a value."""
    with pytest.raises(DecodeError, match="'nope'"):
        load("nope", b"")
    with pytest.raises(EncodeError, match="'nope'"):
        dump(1, codec="nope")


@pytest.mark.parametrize("bad", [object(), Points, 5])
def test_what_is_no_codec_is_refused(offered, bad):
    """Only objects with the four members are registered."""
    with pytest.raises(UsageError, match="takes, dump and load"):
        register(bad)


@pytest.mark.parametrize("name", ["", "bytes", "pickle", "x" * 256, 5])
def test_names_are_checked(offered, name):
    """An empty, long, or built-in name is refused."""
    codec = Points()
    codec.name = name
    with pytest.raises(UsageError):
        register(codec)


def test_a_name_belongs_to_one(offered):
    """A second codec of a name is refused; the same one may come again."""
    codec = Points()
    register(codec)
    register(codec)
    with pytest.raises(UsageError, match="points"):
        register(Points())


def test_a_plugin_cannot_take_the_place_of_a_built_in(offered):
    """A plug-in with the name of a built-in codec is not used for values."""
    impostor = Points()
    impostor.name = "msgpack"
    offered["found"] = {"impostor": impostor}
    assert registry.codec_for(Point(1)) is None
