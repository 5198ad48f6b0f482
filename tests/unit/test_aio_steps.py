"""Asynchronous steps as methods, and inside of traced ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache import AsyncCache, File

pytestmark = pytest.mark.anyio


class Ran(list[object]):
    """The calls that ran: no part of any fingerprint."""

    def __vcache_key__(self):
        return "calls"


ran = Ran()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def cache(tmp_path, monkeypatch):
    ran.clear()
    monkeypatch.chdir(tmp_path)
    async with AsyncCache("c", root=tmp_path) as opened:
        yield opened


def write(text: str) -> None:
    Path("in").write_text(text)


async def test_a_method_is_a_step_of_its_object(cache):
    """Every verb takes the object along."""

    class Parser:
        def __init__(self, level):
            self.level = level

        def __vcache_key__(self):
            return self.level

        @cache.step
        async def parse(self, text):
            ran.append(text)
            return [self.level, text]

    one = Parser(1)
    assert await one.parse("a") == await one.parse("a") == [1, "a"]
    assert await Parser(2).parse("a") == [2, "a"]
    assert len(ran) == 2
    assert await one.parse.is_cached("a")
    assert await one.parse.key("a") == await Parser.parse.key(one, "a")
    assert await one.parse.bypass("b") == [1, "b"]
    assert await one.parse.invalidate() == 2


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_an_inner_step_depends_on_the_outer_one_does(cache, is_warm, is_async):
    """A remembered inner step hands its file to the traced one around it, as in synchronous code."""

    def read(src):
        ran.append("inner")
        return src.read_text()

    async def read_async(src):
        return read(src)

    inner = cache.step(read_async if is_async else read)

    @cache.step(inputs="traced", code="none")
    async def outer():
        ran.append("outer")
        return await inner(File("in")) + "!"

    write("1")
    if is_warm:
        await inner(File("in"))
    assert await outer() == await outer() == "1!"
    assert ran.count("outer") == 1
    write("two")
    assert not await outer.is_cached()
    assert await outer() == await outer() == "two!"
    write("1")
    assert await outer() == "1!"
    assert (ran.count("outer"), ran.count("inner")) == (2, 2)


async def test_asynchronous_and_other_callers_share_a_result(cache):
    """A step that a program wraps both ways is one: the key is the function's."""

    def work(x):
        ran.append(x)
        return [x]

    sync, door = cache.cache.step(work), cache.step(work)
    assert sync(1) == await door(1) == [1]
    assert await door(2) == sync(2) == [2]
    assert ran == [1, 2]
