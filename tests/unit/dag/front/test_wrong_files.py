"""Build files that are wrong: what is said, and where."""

from __future__ import annotations

import re

import pytest

from tests.unit.dag.front.project import Project
from vcache.errors import GraphError

COPY = """
@build.step(outs=["out/{name}"])
def copy(src: File, name: str):
    return cmd("cp", src, build.out(0))
"""

# Each: the file, and what must be in the error (a regular expression).
AT_LOAD = {
    "two nodes make one file": (
        COPY + 'copy(File("a"), "x")\ncopy(File("b"), "x")\n',
        r"^vcachefile.py:7: copy \(vcachefile.py:3\) makes 'out/x', which 'out/x' \(vcachefile.py:3\) makes already",
    ),
    "a file below another node's directory": (
        '@build.step(outs=["gen/"])\ndef whole(): ...\n@build.step(outs=["gen/x.h"])\ndef part(): ...\nwhole()\npart()',
        r"makes 'gen/x.h', which 'gen/' .* makes already",
    ),
    "a directory around another node's file": (
        '@build.step(outs=["gen/"])\ndef whole(): ...\n@build.step(outs=["gen/x.h"])\ndef part(): ...\npart()\nwhole()',
        r"makes 'gen/', which 'gen/x.h' .* makes already",
    ),
    "an unknown pool": (
        'build.pool("link", slots=1)\n@build.step(outs=["a"], pool="lnik")\ndef a(): ...\n',
        r"vcachefile.py:3: no pool 'lnik'; did you mean 'link'\?",
    ),
    "an output that climbs out": (
        '@build.step(outs=["../a"])\ndef a(): ...\na()',
        r"vcachefile.py:2: the output '../a' is outside of",
    ),
    "one output twice": ('@build.step(outs=["a", "./a"])\ndef a(): ...\na()', "vcachefile.py:2: a names an output twice: a, a"),
    "a log and a step of one name": (
        COPY + "@build.log(of=[copy])\ndef copy(records): ...\n",
        "vcachefile.py:6: 'copy' is there already: vcachefile.py:3",
    ),
    "an absolute output": ('@build.step(outs=["/tmp/a"])\ndef a(): ...\na()', "is outside of"),
    "a template with an unknown parameter": (
        '@build.step(outs=["{stem}.o"])\ndef comp(src: File): ...\n',
        r"vcachefile.py:2: .*the output '\{stem\}.o' asks for 'stem': it may use src",
    ),
    "a template that asks for a value": (
        '@build.value\ndef v(): ...\n@build.step(outs=["{x}"])\ndef a(x): ...\na(v())',
        r"the value of v has no text yet",
    ),
    "outs as text": ('@build.step(outs="a.o")\ndef a(): ...\n', r"outs='a.o': give a list such as \['a.o'\]"),
    "an unknown option": ('@build.step(outs=[], deepfile="x")\ndef a(): ...\n', "no option 'deepfile'; did you mean 'depfile'"),
    "a timeout that is none": ('@build.step(timeout="soon")\ndef a(): ...\n', "vcachefile.py:2: timeout: not a duration: 'soon'"),
    "memory that is none": ('@build.step(memory="much")\ndef a(): ...\n', "memory: not a size: 'much'"),
    "no slots": ("@build.step(slots=0)\ndef a(): ...\n", "slots=0"),
    "an argument without identity": (COPY + 'copy(object(), "x")', r"vcachefile.py:6: copy: argument 'src' has no fingerprint: .* To use it, give its class"),
    "a wrong call": (COPY + 'copy(File("a"))', r"vcachefile.py:6: .*copy\(\) missing 1 required .*\(copy is at vcachefile.py:3\)"),
    "need outside": ('need("a")', r"vcachefile.py:2: need\(…\) works in the body"),
    "build.out outside": ("build.out(0)", r"vcachefile.py:2: build.out.* works in the body of a step"),
    "no words": ("cmd()", r"vcachefile.py:2: cmd\(\) without words"),
    "a word that is none": ('cmd("a", None)', r"vcachefile.py:2: None is no word of a command"),
    "a step as a word": (COPY + 'cmd("a", copy)', r"vcachefile.py:6: <StepFunction copy> is no word of a command: call it"),
    "an empty line": ('sh("")', r"vcachefile.py:2: sh\(''\)"),
    "a variable that is no text": ('cmd("a", env={"A": None})', r"env=\{'A': None\}"),
    "a default that is none": ("build.default(42)", r"vcachefile.py:2: default\(42\): that is no target"),
    "a default by an unknown name": ('build.default("nil")', r"vcachefile.py:2: default: unknown target 'nil'"),
    "a default that needs arguments": (COPY + "build.default(copy)", r"copy \(vcachefile.py:3\) needs src, name: call it"),
    "two steps of one name": (COPY + COPY, r"vcachefile.py:7: 'copy' is there already: vcachefile.py:3"),
    "a generator": ("@build.step()\ndef a():\n    yield 1\n", r"vcachefile.py:2: a has a yield: use `async def`"),
    "a pool twice": ('build.pool("a", slots=1)\nbuild.pool("a", slots=2)', "the pool 'a' is there already"),
    "a condition that is none": (
        COPY + '@build.log(of=[copy], where="level >= wraning")\ndef w(records): ...\n',
        r"vcachefile.py:6: where: no level 'wraning'; did you mean 'warning'\?\n    level >= wraning\n             \^",
    ),
    "a log of nothing": ("@build.log(of=[])\ndef w(records): ...\n", r"of=\[\]"),
    "a value used too early": ("@build.value\ndef v(): ...\nlen(v().items)", r"vcachefile.py:4: the value of v has no 'items' yet"),
    "an exception": ("def helper():\n    return 1 / 0\nhelper()", r"vcachefile.py:3: ZeroDivisionError: division by zero\nwhile vcachefile.py was read:\n  vcachefile.py:4, in <module>\n    helper\(\)\n  vcachefile.py:3, in helper\n    return 1 / 0$"),
    "a syntax error": ("def a(:\n", r"vcachefile.py:2: invalid syntax\n    def a\(:\n          \^"),
    "an exit": ("import sys; sys.exit(3)", r"vcachefile.py: it called exit\(3\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", AT_LOAD)
def test_a_wrong_file_is_refused(case: str, project: Project):
    """The error names the place, the value and the remedy."""
    text, said = AT_LOAD[case]
    with pytest.raises(GraphError) as caught:
        project.load(text).targets()
    assert re.search(said, str(caught.value)), str(caught.value)


IN_BODIES = {
    "another result": ('@build.step(outs=["a"])\ndef a():\n    return 42\n', r"vcachefile.py:2: a returned 42: return cmd\(…\), a list"),
    "a forgotten await": (
        ('@build.step(outs=["b"])\ndef b(): return cmd("touch", build.out())\n'
        '@build.step(outs=["a"])\nasync def a():\n    need(b())\n    return cmd("touch", build.out())\n'),
        r"vcachefile.py:6: need\(…\) without await",
    ),
    "a looped-over need": (
        ('@build.step(outs=["b"])\ndef b(): return cmd("touch", build.out())\n'
        '@build.step(outs=["a"])\nasync def a():\n    return cmd("cat", *need(b()))\n'),
        r"vcachefile.py:6: need\(…\) without await",
    ),
    "need of what is no target": (
        '@build.step(outs=["a"])\nasync def a():\n    await need(42)\n',
        r"vcachefile.py:4: need\(42\): that is no target",
    ),
    "need of a list": (
        '@build.step(outs=["a"])\nasync def a():\n    await need(["x"])\n',
        r"need\(\['x'\]\): that is no target.*write need\(\*…\)",
    ),
    "another awaitable": (
        '@build.step(outs=["a"])\nasync def a():\n    import asyncio\n    await asyncio.sleep(0)\n',
        "only need|can be awaited",
    ),
    "a coroutine": (
        '@build.step(outs=["a"])\ndef a():\n    async def inner(): ...\n    return inner()\n',
        "vcachefile.py:2: a returned a coroutine",
    ),
    "an output too far": ('@build.step(outs=["a"])\ndef a():\n    return cmd("touch", build.out(1))\n', r"build.out\(1\): a has 1 output"),
    "a depfile that is not there": ('@build.step(outs=["a"])\ndef a():\n    return cmd("x", build.depfile)\n', "a has no depfile=: give the step one"),
    "an exception": ('@build.step(outs=["a"])\ndef a():\n    return {}["k"]\n', r"vcachefile.py:4: KeyError: 'k'"),
    "a missing tool": (
        'nope = build.tool("no-such-tool")\n@build.step(outs=["a"])\ndef a():\n    return cmd(nope, build.out())\n',
        r"vcachefile.py:2: the tool 'no-such-tool' is not there in PATH=.*: install it",
    ),
    "a missing tool behind another": (
        'nope = build.tool("./no/such")\n@build.step(outs=["a"])\ndef a():\n    return cmd("env", nope)\n',
        r"vcachefile.py:2: the tool './no/such' is not there at /.*/no/such: install it",
    ),
    "a missing source": ('@build.step(outs=["a"])\ndef a():\n    return cmd("cp", File("src"), build.out())\n', "'src', needed by 'a', missing"),
    "a value as a word": (
        '@build.value\ndef v(): return 1\n@build.step(outs=["a"])\ndef a():\n    return cmd("echo", v())\n',
        r"vcachefile.py:6: the value of v is no word yet: await it",
    ),
    "a step that makes no file as a word": (
        '@build.step()\ndef t(): return cmd("true")\n@build.step(outs=["a"])\ndef a():\n    return cmd("echo", t())\n',
        "'t' makes no file",
    ),
    "a value that raises": ("@build.value\ndef a():\n    return int('x')\n", "vcachefile.py:4: ValueError: invalid literal"),
    "a cycle": (
        ('@build.step(outs=["a"], ins=["b"])\ndef a(): return cmd("touch", build.out())\n'
        '@build.step(outs=["b"], ins=["a"])\ndef b(): return cmd("touch", build.out())\nb()\n'),
        "dependency cycle: .*a.*b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_BODIES)
def test_a_wrong_body_is_refused(case: str, project: Project):
    """The error names the place, the value and the remedy, and only this node fails."""
    text, said = IN_BODIES[case]
    project.load(text)
    try:
        error = project.run("a", status=1).error
    except GraphError as caught:  # what concerns the whole graph
        error = str(caught)
    assert re.search(said, error), error


def test_unknown_targets_show_the_nearest(project: Project):
    """A typing error is answered with what was meant."""
    loaded = project.load(COPY + 'copy(File("a"), "x")\nbuild.phony("everything", "out/x")')
    for word, said in {
        "evrything": "unknown target 'evrything'; did you mean 'everything'?",
        "out/y": "did you mean 'out/x'",
        "copy[nam=x]": "copy (vcachefile.py:3) has no parameter 'nam'; did you mean 'name'?",
        "copy[x]": "'x' is no argument: write copy[name=value,…]",
        "vcachefile.py": "'vcachefile.py' is a file that nobody makes",
    }.items():
        with pytest.raises(GraphError) as caught:
            loaded.targets([word])
        assert said in str(caught.value)


def test_an_unknown_define_shows_the_nearest(project: Project):
    """`-D` with a name that the file does not ask for is refused."""
    with pytest.raises(
        GraphError, match=r"-D mdoe: the build file has no such option; did you mean 'mode'\?"
    ):
        project.load('build.option("mode", "debug")', defines={"mdoe": "x"})
