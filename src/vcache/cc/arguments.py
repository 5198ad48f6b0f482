"""What a command line of gcc or clang makes, and what it reads besides headers; or why nobody can tell.

Decides by the words alone: looks at no file, but for the response files that a reader brings. Sources
of the tables: the GCC manual, "Overall Options", "Preprocessor Options", "Developer Options"; clang's
command line reference; which options are too hard for a compiler cache: ccache's manual.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, Literal

from vcache.cc.responses import Reader, expand
from vcache.kit.data import dataclass, field

__all__ = ["Compile", "TooHard", "parse"]


@dataclass(frozen=True, slots=True)
class TooHard:
    """Why a command is run as it is.

    Attributes:
        reason: a few words for people; equal for commands that are refused for the same.
        word: the argument that decided; empty when it was none.
    """

    reason: str
    word: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.word}" if self.word else self.reason


@dataclass(frozen=True, slots=True)
class Compile:
    """One source, compiled to one object, and what comes with it. Names are as on the command line.

    Attributes:
        argv: the compiler and its arguments, as they were given.
        source: the file that is compiled.
        output: the object, or the assembly.
        outs: everything it makes: the output first, then what is named after it, then the depfile.
        depfile: the depfile that the user asked for; "" for none.
        sees: how the headers that it reads come to light: "full": the user's depfile names all of
            them; "none": he asked for no depfile; "partial": his leaves system headers out;
            "never": the source is past its preprocessor, and includes nothing.
        inputs: further files that it reads, besides headers.
        forced: headers that options include.
        searched: the directories in which headers are looked for first, in order.
        wants_cpu: the result depends on the processor that it is made on.
        is_bound: what it makes may hold its place in a form that nobody can look into.
        is_colored: how diagnostics are coloured was said, and needs no look at the terminal.
    """

    argv: tuple[str, ...]
    source: str
    output: str
    outs: tuple[str, ...]
    depfile: str = ""
    sees: Literal["full", "none", "partial", "never"] = "none"
    inputs: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    wants_cpu: bool = False
    is_bound: bool = False
    is_colored: bool = False


# --- the tables ------------------------------------------------------------------------------

_PREPROCESSED: Final = frozenset({"cpp-output", "c++-cpp-output", "objective-c-cpp-output",
                                  "objective-c++-cpp-output", "assembler"})  # fmt: skip
_LANGUAGES: Final = {
    ".c": "c", ".i": "cpp-output", ".s": "assembler", ".S": "assembler-with-cpp", ".sx": "assembler-with-cpp",
    ".m": "objective-c", ".mi": "objective-c-cpp-output", ".ii": "c++-cpp-output",
    ".mii": "objective-c++-cpp-output", ".M": "objective-c++", ".mm": "objective-c++",
} | dict.fromkeys((".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C"), "c++")  # fmt: skip
_KNOWN_LANGUAGES: Final = frozenset(_LANGUAGES.values())

# Options whose argument is the next word. Where it may also be joined, the joined form begins like it.
_TAKES_WORD: Final = frozenset(
    """-A -D -F -G -I -L -MF -MQ -MT -T -U -V -Xassembler -Xclang -Xlinker -Xpreprocessor -arch
    -cxx-isystem -e -framework -idirafter -imacros -imultiarch -imultilib -include -iprefix -iquote
    -iframework -isysroot -isystem -ivfsoverlay -iwithprefix -iwithprefixbefore -l -mllvm -o -stdlib++-isystem
    -target -u -x -z --param --sysroot -gcc-toolchain --target""".split()
)

# What cannot be answered from a cache, by reason: whole words …
_OTHER_FILES: Final = "it makes other files"
_NO_COMPILE: Final = "it compiles nothing"
_ABOUT_ITSELF: Final = "it asks the compiler about itself"
_OTHER_PROGRAMS: Final = "it runs other programs"
_NOT_UNDERSTOOD: Final = "an option that is not understood"
_PROFILES: Final = "it reads profiles whose names are not known"
_NO_TWO_RUNS: Final = "it reports what no two runs share"
_HARD_WORDS: Final = {
    word: reason
    for reason, words in {
        _NO_COMPILE: "-E -fsyntax-only --analyze -###",
        "it only lists dependencies": "-M -MM -MG",
        _ABOUT_ITSELF: "-v --verbose --version --help -dumpversion -dumpfullversion -dumpmachine -dumpspecs",
        "modules": "-fmodules -fcxx-modules -fmodules-ts --precompile -fmodule-header",
        _OTHER_PROGRAMS: "-fplugin -load -wrapper -no-integrated-cpp",
        _OTHER_FILES: """-aux-info -gen-decls -MJ -index-store-path -serialize-diagnostics
            --serialize-diagnostics -dependency-file -dumpdir -dumpbase -dumpbase-ext -emit-ast -emit-llvm
            -emit-pch -fcallgraph-info -fsave-optimization-record -ftime-trace""",
        _NO_TWO_RUNS: "-ftime-report -fmem-report -Q -time",
        _NOT_UNDERSTOOD: """-I- -fpch-preprocess -include-pch -working-directory -fcompare-debug
            -fcompare-debug-second""",
        _PROFILES: "-fprofile-use -fbranch-probabilities -fauto-profile -fvpt",
    }.items()
    for word in words.split()
}
# … and beginnings of words.
_HARD_STARTS: Final = {
    start: reason
    for reason, starts in {
        _OTHER_FILES: """-save-temps --save-temps -save-stats --save-stats -fdump- -fcallgraph-info= -ftime-trace=
            -foptimization-record -fsave-optimization-record= -fprofile-note=""",
        _NO_TWO_RUNS: "-fstats",
        _ABOUT_ITSELF: "-print- --print- --help",
        "modules": "-fmodule- -fmodules- -fdeps- -fprebuilt-module",
        _OTHER_PROGRAMS: "-fplugin= -fpass-plugin -specs --specs -B -wrapper",
        _NOT_UNDERSTOOD: "-Xarch_ -Xcuda -Xopenmp --offload --config -include-pch -working-directory",
        _PROFILES: "-fprofile-remapping -fthinlto-index -fprofile-use= -fauto-profile=",
    }.items()
    for start in starts.split()
}

_READS_FILE: Final = (
    r"-(?:fprofile-use|fauto-profile|fprofile-sample-use|fprofile-instr-use|fprofile-list"
    r"|fsanitize-(?:system-)?(?:black|ignore)list|fsanitize-coverage-(?:allow|ignore|white|black)list"
    r"|fxray-(?:always|never)-instrument|fxray-attr-list|frandomize-layout-seed-file"
    r"|fopenmp-host-ir-file-path|fembed-offload-object)=(.+)"
)
_DUMP_LETTERS: Final = r"-d[A-Za-z]+"
_PROBES_CPU: Final = r"-m(?:arch|tune|cpu|fpu)=native"
_IS_COLORED: Final = r"-f(?:no-)?(?:diagnostics-color(?:=.*)?|color-diagnostics)"
# Passed on to cc1 by name: harmless, as they name no file.
_PLAIN_CLANG: Final = r"-(?:f(?!modul|dump|pass|embed)[a-z0-9-]+(?:=[^/]*)?|W[a-z0-9=+-]*|m[a-z0-9=.,+-]+)"
_SEARCH: Final = (
    "-iquote",
    "-isystem",
    "-idirafter",
    "-I",
    "-cxx-isystem",
    "-stdlib++-isystem",
    "-iframework",
    "-F",
)


# --- the walk --------------------------------------------------------------------------------


def parse(argv: tuple[str, ...], *, read: Reader) -> Compile | TooHard:
    """What a compiler's command makes, or why it has to run as it is.

    Args:
        argv: the compiler and its arguments.
        read: for response files.
    """
    walk = _Walk()
    words = expand(argv[1:], read, walk.responses)
    if words is None:
        return TooHard("too many response files")
    hard = walk.run(words)
    return hard or walk.outcome(argv)


@dataclass(slots=True)
class _Walk:
    """What was seen of a command line so far."""

    sources: list[tuple[str, str]] = field(default_factory=list)  # each with its language
    strangers: list[str] = field(default_factory=list)  # files that are no sources
    responses: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    names_target: bool = False
    searched: list[tuple[str, str]] = field(default_factory=list)
    language: str = ""
    output: str = ""
    mode: str = ""
    deps: str = ""  # "MD", "MMD", or ""
    depfile: str = ""
    archs: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    is_bound: bool = False
    is_colored: bool = False

    def run(self, words: list[str]) -> TooHard | None:
        rest = iter(words)
        for word in rest:
            hard = self._word(word, rest)
            if hard is not None:
                return hard
        return None

    def _word(self, word: str, rest: Iterator[str]) -> TooHard | None:
        if word[:1] != "-" or word == "-":
            return self._source(word)
        if word in _TAKES_WORD:
            value = next(rest, None)
            return TooHard("an argument is missing", word) if value is None else self._option(word, value)
        if (reason := _hard(word)) is not None and not re.fullmatch(_READS_FILE, word):
            return TooHard(reason, word)
        return self._joined(word)

    def _source(self, word: str) -> TooHard | None:
        if word == "-":
            return TooHard("the source is standard input")
        language = self.language or _LANGUAGES.get(os.path.splitext(word)[1], "")
        if language not in _KNOWN_LANGUAGES:
            # An object for the linker, a header for PCH, Fortran: nothing for us, whatever it is.
            self.strangers.append(word)
            return None
        self.sources.append((word, language))
        return None

    def _option(self, name: str, value: str) -> TooHard | None:
        """An option and its argument, which was a word of its own or joined."""
        match name:
            case "-o":
                self.output = value
            case "-x":
                if value != "none" and value not in _KNOWN_LANGUAGES:
                    return TooHard("a language that is not understood", value)
                self.language = "" if value == "none" else value
            case "-MF":
                self.depfile = value
            case "-MT" | "-MQ":
                self.names_target = True
            case "-include" | "-imacros":
                self.forced.append(value)
            case "-arch":
                self.archs.add(value)
            case "-Xclang":
                return None if re.fullmatch(_PLAIN_CLANG, value) else TooHard(_NOT_UNDERSTOOD, value)
            case "-Xpreprocessor":
                return self._preprocessor([value])
            case "-Xassembler":
                return self._assembler([value])
            case "-ivfsoverlay":
                self.inputs.append(value)
            case "-mllvm":
                return None if "/" not in value else TooHard(_NOT_UNDERSTOOD, value)
            case _:
                if name in _SEARCH:
                    self.searched.append((name, value))
        return None

    def _joined(self, word: str) -> TooHard | None:
        if word in ("-c", "-S"):
            # As the compiler: -S stops earlier than -c, in whichever order they come.
            self.mode = "-S" if "-S" in (word, self.mode) else "-c"
        elif word in ("-MD", "-MMD"):
            self.deps = word[1:] if self.deps != "MMD" else "MMD"
        elif word == "-MP":
            self.names_target = True
        elif word.startswith("-Wp,"):
            return self._preprocessor(word.split(",")[1:])
        elif word.startswith("-Wa,"):
            return self._assembler(word.split(",")[1:])
        elif (name := next((name for name in _JOINED if word.startswith(name)), None)) is not None:
            return self._option(name, word[len(name) :])
        elif "=" in word and (named := re.fullmatch(_READS_FILE, word)) is not None:
            self.inputs.append(named[1])
        else:
            self._flag(word)
        return None

    def _flag(self, word: str) -> None:
        self.flags.add(word)
        if word.startswith(("-flto", "-gz", "-fembed-bitcode")) and word != "-gz=none":
            self.is_bound = True
        if "color" in word and re.fullmatch(_IS_COLORED, word):
            self.is_colored = True

    def _preprocessor(self, words: list[str]) -> TooHard | None:
        """What is passed on to the preprocessor by name: `-Wp,-MD,file` and harmless words."""
        rest = iter(words)
        for word in rest:
            if word in ("-MD", "-MMD"):
                value = next(rest, None)
                if value is None:
                    return TooHard("a depfile is named in two words", word)
                self.deps, self.depfile = word[1:], value
            elif word in ("-MT", "-MQ"):
                next(rest, None)
            elif word != "-MP" and not re.match(r"-[DU].|-[WfPCm]|-undef|-trigraphs|-std=", word):
                return TooHard(_NOT_UNDERSTOOD, word)
        return None

    def _assembler(self, words: list[str]) -> TooHard | None:
        """What is passed on to the assembler: not where it makes a listing or a depfile."""
        for word in words:
            if word.startswith(("-a", "--MD", "-o", "@", "-MD", "--al")):
                return TooHard(_OTHER_FILES, word)
            if "compress-debug" in word:
                self.is_bound = True
        return None

    # -- what it comes to ----------------------------------------------------------------------

    def outcome(self, argv: tuple[str, ...]) -> Compile | TooHard:
        if (hard := self._refusal()) is not None:
            return hard
        source, language = self.sources[0]
        stem = os.path.splitext(os.path.basename(source))[0]
        output = self.output or stem + (".s" if self.mode == "-S" else ".o")
        beside = os.path.splitext(output)[0]
        never = language in _PREPROCESSED
        depfile = "" if never or not self.deps else self.depfile or beside + ".d"
        outs = (
            output,
            *(beside + suffix for suffix in self._suffixes(never=never)),
            *filter(None, [depfile]),
        )
        return Compile(
            argv,
            source,
            output,
            tuple(dict.fromkeys(outs)),
            depfile=depfile,
            sees="never" if never else {"": "none", "MD": "full", "MMD": "partial"}[self.deps],  # type: ignore[arg-type]
            inputs=(*self.responses, *self.inputs),
            forced=tuple(self.forced),
            searched=tuple(path for name in _SEARCH_ORDER for kind, path in self.searched if kind in name),
            wants_cpu=any("=native" in word and re.fullmatch(_PROBES_CPU, word) for word in self.flags),
            is_bound=self.is_bound,
            is_colored=self.is_colored,
        )

    def _refusal(self) -> TooHard | None:
        if not self.mode and (self.sources or self.strangers):
            return TooHard("it links")
        if self.strangers:
            return TooHard("not a source that is understood", self.strangers[0])
        if not self.sources:
            return TooHard("there is no source")
        if len(self.sources) > 1:
            return TooHard("several sources")
        if len(self.archs) > 1:
            return TooHard("several architectures", "-arch")
        if self.output in ("-", "/dev/null") or self.output.startswith("/dev/"):
            return TooHard("its output is no file", self.output)
        if self.depfile.startswith("/dev/") or self.depfile == "-":
            return TooHard("its depfile is no file", self.depfile)
        if (self.depfile or self.names_target) and not self.deps:
            return TooHard("a depfile is described, and none asked for")
        return None

    def _suffixes(self, *, never: bool) -> list[str]:
        """What is made beside the output, under its name with another suffix."""
        found = []
        if not never and self.flags & {"--coverage", "-coverage", "-ftest-coverage"}:
            found.append(".gcno")
        if "-gsplit-dwarf" in self.flags and "-g0" not in self.flags and self.mode != "-S":
            found.append(".dwo")
        if "-fstack-usage" in self.flags:
            found.append(".su")
        return found


_SEARCH_ORDER: Final = (("-iquote",), ("-I", "-F"), ("-isystem", "-cxx-isystem", "-stdlib++-isystem", "-iframework"),
                        ("-idirafter",))  # fmt: skip
# Their argument may be joined to them; the longer name comes first.
_JOINED: Final = (
    "-cxx-isystem", "-stdlib++-isystem", "-iframework", "-idirafter", "-isystem", "-iquote", "-imacros",
    "-include", "-isysroot", "-iprefix", "-iwithprefixbefore", "-iwithprefix", "-MF", "-MT", "-MQ", "-I", "-D", "-U",
    "-F", "-x", "-o",
)  # fmt: skip


def _hard(word: str) -> str | None:
    """Why a word forbids an answer from the cache; None when it does not."""
    if (reason := _HARD_WORDS.get(word)) is not None:
        return reason
    for start, why in _HARD_STARTS.items():
        if word.startswith(start):
            return why
    if (word.startswith("-d") and re.fullmatch(_DUMP_LETTERS, word)) or (
        word.startswith("-fdiagnostics-") and "-file" in word
    ):
        return _OTHER_FILES
    return None
