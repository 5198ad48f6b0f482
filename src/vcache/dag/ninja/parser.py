"""Manifests: statements of ninja's language, read into edges, pools and variables.

A build statement of the usual form is taken by one regular expression; whatever that does not match
is read token by token, so faults are told in one place, in ninja's words. It follows
src/manifest_parser.cc of ninja 1.13. It reads included files, and asks for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from vcache.dag.ninja.lexer import NAME, VALUE, Lexer, Token, expand
from vcache.dag.ninja.manifest import Manifest, check_version, leading_number, read_text
from vcache.dag.ninja.scope import PHONY, RESERVED, Edge, Expansion, Rule, Scope, Text, evaluate
from vcache.dag.node import Pool
from vcache.errors import GraphError

__all__ = ["parse"]

_DEEPEST: Final = 100
"""How deep files may include each other: a file that includes itself is told, not followed."""

_SKIPPED: Final = re.compile(r"(?: *+(?:#[^\0\n]*+)?\r?\n)++")
_ESCAPED: Final = rf"\$(?:[$ :]|\r?\n|\{{{NAME}\}}|[a-zA-Z0-9_-]++)"
_PATHS: Final = rf"((?:[^$:|\r\n\0]++|{_ESCAPED})*+)"
_EDGE: Final = re.compile(
    rf"build ++(?=[^$ :|\r\n\0]){_PATHS}(?:\|(?![|@]){_PATHS})?"
    rf": *+({NAME}){_PATHS}(?:\|(?![|@]){_PATHS})?(?:\|\|{_PATHS})?(?:\|@{_PATHS})?\r?\n"
    rf"((?: ++{NAME} *+= *+{VALUE}\r?\n)*+)"
)
_WRAP: Final = re.compile(r" \$\r?\n *+")
_WORD: Final = re.compile(rf"(?:[^$ ]++|\$\r?\n *+|\$(?:[$ :]|\{{{NAME}\}}|[a-zA-Z0-9_-]++))++")
_BINDING: Final = re.compile(rf" ++({NAME}) *+= *+({VALUE})\r?\n")


def parse(name: str, base: str, *, is_phonycycle_error: bool = False) -> Manifest:
    """The manifest in a file.

    Raises:
        GraphError: it cannot be read or is wrong; the message is ninja's.
    """
    manifest = Manifest(base, is_phonycycle_error=is_phonycycle_error)
    _File(manifest, manifest.scope, name, 0).read(read_text(base, name))
    return manifest


class _File:
    """One manifest file on its way into a manifest."""

    __slots__ = ("_depth", "_lexer", "_line", "_manifest", "_name", "_scope")

    def __init__(self, manifest: Manifest, scope: Scope, name: str, depth: int) -> None:
        self._manifest = manifest
        self._scope = scope
        self._name = name
        self._depth = depth
        self._line = 1

    def read(self, text: str) -> None:
        """Take every statement."""
        self._manifest.files.append(self._name)
        self._lexer = lexer = Lexer(self._name, text)
        skip, usual, take, count = _SKIPPED.match, _EDGE.match, self._take_edge, text.count
        at = seen = 0
        is_more = True
        while is_more:
            if skipped := skip(text, at):
                at = skipped.end()
            self._line += count("\n", seen, at)
            seen = at
            found = usual(text, at)
            if found and take(found):
                at = found.end()
            else:
                lexer.at = at
                is_more = self._statement()
                at = lexer.at

    # --- the usual form

    def _take_edge(self, found: re.Match[str]) -> bool:
        """Add an edge. False where it needs a closer look; nothing has changed then."""
        rule_name, own = found.group(3, 8)
        scope, manifest = self._scope, self._manifest
        rule = scope.rules.get(rule_name) or scope.rule(rule_name)
        if rule is None or self._goes_on(found.end()):
            return False
        edge = Edge(rule, scope, own or None)
        if "$" in own:
            edge.own = {name: expand(raw, scope.lookup) for name, raw in _BINDING.findall(own)}
        is_settling = scope.is_settling or rule.is_settling or "pool" in own or "dyndep" in own
        if is_settling:
            # Before its paths are known: so does ninja.
            edge.pool = Expansion(edge).lookup("pool")
        self._take_paths(edge, found)
        if not self._is_usual(edge) or (is_settling and not self._take_dyndep(edge)):
            return False
        for path in edge.outs:
            manifest.producers[path] = edge
        edge.file, edge.line = self._name, self._line
        edge.number = len(manifest.edges)
        manifest.edges.append(edge)
        return True

    def _take_paths(self, edge: Edge, found: re.Match[str]) -> None:
        outs, hidden_outs, _, ins, hidden_ins, after, checks, _ = found.groups()
        edge.outs = self._words(outs, edge)
        edge.ins = self._words(ins, edge)
        if hidden_outs:
            hidden = self._words(hidden_outs, edge)
            edge.hidden_outs = len(hidden)
            edge.outs += hidden
        if hidden_ins:
            hidden = self._words(hidden_ins, edge)
            edge.hidden_ins = len(hidden)
            edge.ins += hidden
        if after:
            edge.after = self._words(after, edge)
        if checks:
            edge.checks = self._words(checks, edge)

    def _take_dyndep(self, edge: Edge) -> bool:
        """Set an edge's dyndep file. False where it, or the pool, is not what it should be."""
        if edge.pool and edge.pool not in self._manifest.pools:
            return False
        if name := Expansion(edge, is_quoted=False).lookup("dyndep"):
            edge.dyndep = self._manifest.paths[name]
        return not edge.dyndep or edge.dyndep in edge.inputs()

    def _is_usual(self, edge: Edge) -> bool:
        """Whether an edge's paths are such that nothing is to be told or mended."""
        outs, ins = edge.outs, edge.ins
        return (
            self._manifest.producers.keys().isdisjoint(outs)
            and (len(outs) == 1 or len(set(outs)) == len(outs) > 0)
            and "" not in outs
            and "" not in ins
            and "" not in edge.after
            and "" not in edge.checks
            and not (edge.rule is PHONY and (outs[0] in ins or outs[0] in edge.after))
        )

    def _words(self, raw: str, edge: Edge) -> tuple[str, ...]:
        """Canonical paths. "" stands for one that is empty."""
        clean = self._manifest.paths.__getitem__
        if "$" not in raw:
            return tuple(map(clean, filter(None, raw.split(" "))))
        lookup = _lookup_of(edge)
        raw = _WRAP.sub(" ", raw)
        return tuple(clean(expand(word, lookup)) for word in _WORD.findall(raw))

    def _goes_on(self, at: int) -> bool:
        """Whether more of a statement follows: a comment between its variables, or a fault."""
        text = self._lexer.text
        if text[at] not in " #":
            return False
        lexer = Lexer("", text, at)
        return lexer.take(Token.INDENT)

    # --- token by token

    def _statement(self) -> bool:
        """Take one statement. False at the end of the file."""
        lexer = self._lexer
        token = lexer.read()
        if token is Token.END:
            return False
        if token is Token.ERROR:
            lexer.fail_lexing()
        if token is Token.IDENT:
            lexer.unread()
            self._variable()
        elif token in _STATEMENTS:
            _STATEMENTS[token](self)
        elif token is not Token.NEWLINE:
            lexer.fail(f"unexpected {token.value}")
        return True

    def _let(self) -> tuple[str, Text]:
        """The rest of a line that sets a variable."""
        name = self._lexer.ident()
        if not name:
            self._lexer.fail("expected variable name")
        self._lexer.expect(Token.EQUALS)
        return name, self._lexer.value()

    def _variable(self) -> None:
        name, text = self._let()
        value = evaluate(text, self._scope.lookup)
        if name == "ninja_required_version":
            # At once: what follows may be in a language that is not known here.
            self._manifest.warnings += check_version(value)
        self._scope.bind(name, value)

    def _pool(self) -> None:
        lexer, pools = self._lexer, self._manifest.pools
        name = lexer.ident() or lexer.fail("expected pool name")
        lexer.expect(Token.NEWLINE)
        if name in pools:
            lexer.fail(f"duplicate pool '{name}'")
        depth = -1
        while lexer.take(Token.INDENT):
            key, text = self._let()
            if key != "depth":
                lexer.fail(f"unexpected variable '{key}'")
            depth = leading_number(evaluate(text, self._scope.lookup))
            if depth < 0:
                lexer.fail("invalid pool depth")
        if depth < 0:
            lexer.fail("expected 'depth =' line")
        pools[name] = Pool(name, slots=depth)

    def _rule(self) -> None:
        lexer, rules = self._lexer, self._scope.rules
        name = lexer.ident() or lexer.fail("expected rule name")
        lexer.expect(Token.NEWLINE)
        if name in rules:
            lexer.fail(f"duplicate rule '{name}'")
        # These three are there, if empty, in every rule: they hide those of outer scopes.
        bindings: dict[str, Text] = {"command": "", "rspfile": "", "rspfile_content": ""}
        while lexer.take(Token.INDENT):
            key, text = self._let()
            if key not in RESERVED:
                lexer.fail(f"unexpected variable '{key}'")
            bindings[key] = text
        if bool(bindings["rspfile"]) != bool(bindings["rspfile_content"]):
            lexer.fail("rspfile and rspfile_content need to be both specified")
        if not bindings["command"]:
            lexer.fail("expected 'command =' line")
        rules[name] = Rule(name, bindings)

    def _default(self) -> None:
        lexer, manifest = self._lexer, self._manifest
        text = lexer.path()
        if not text:
            lexer.fail("expected target name")
        while text:
            path = manifest.paths[evaluate(text, self._scope.lookup)]
            if not path:
                lexer.fail("empty path")
            if not manifest.knows(path):
                lexer.fail(f"unknown target '{path}'")
            manifest.defaults.append(path)
            text = lexer.path()
        lexer.expect(Token.NEWLINE)

    def _include(self) -> None:
        self._read_other(self._scope)

    def _subninja(self) -> None:
        self._read_other(Scope(self._scope))

    def _read_other(self, scope: Scope) -> None:
        lexer = self._lexer
        name = evaluate(lexer.path(), self._scope.lookup)
        if self._depth == _DEEPEST:
            lexer.fail(f"'{name}' is included {_DEEPEST} files deep; does it include itself?")
        try:
            text = read_text(self._manifest.base, name)
        except GraphError as error:
            lexer.fail(str(error))
        _File(self._manifest, scope, name, self._depth + 1).read(text)
        lexer.expect(Token.NEWLINE)

    def _edge(self) -> None:
        lexer = self._lexer
        outs = lexer.paths()
        hidden_outs = lexer.paths() if lexer.take(Token.PIPE) else []
        if not outs and not hidden_outs:
            lexer.fail("expected path")
        lexer.expect(Token.COLON)
        rule_name = lexer.ident() or lexer.fail("expected build command name")
        rule = self._scope.rule(rule_name) or lexer.fail(f"unknown build rule '{rule_name}'")
        ins = lexer.paths()
        hidden_ins = lexer.paths() if lexer.take(Token.PIPE) else []
        after = lexer.paths() if lexer.take(Token.PIPE2) else []
        checks = lexer.paths() if lexer.take(Token.PIPE_AT) else []
        lexer.expect(Token.NEWLINE)
        own: dict[str, str] | None = None
        while lexer.take(Token.INDENT):
            own = {} if own is None else own
            name, text = self._let()
            own[name] = evaluate(text, self._scope.lookup)
        edge = Edge(rule, self._scope, own)
        edge.file, edge.line = self._name, self._line
        edge.hidden_outs, edge.hidden_ins = len(hidden_outs), len(hidden_ins)
        self._settle_pool(edge)
        self._settle_outs(edge, outs + hidden_outs)
        edge.ins = self._evaluated(edge, ins + hidden_ins)
        edge.after = self._evaluated(edge, after)
        edge.checks = self._evaluated(edge, checks)
        self._settle_phony(edge)
        self._settle_dyndep(edge)
        edge.number = len(self._manifest.edges)
        self._manifest.edges.append(edge)

    def _evaluated(self, edge: Edge, texts: list[Text]) -> tuple[str, ...]:
        lookup, clean = _lookup_of(edge), self._manifest.paths
        paths = tuple(clean[evaluate(text, lookup)] for text in texts)
        if "" in paths:
            self._lexer.fail("empty path")
        return paths

    def _settle_pool(self, edge: Edge) -> None:
        name = Expansion(edge).lookup("pool")
        if name and name not in self._manifest.pools:
            self._lexer.fail(f"unknown pool name '{name}'")
        edge.pool = name

    def _settle_outs(self, edge: Edge, texts: list[Text]) -> None:
        """Set an edge's outputs. Faults come in the order of the outputs."""
        lookup, clean = _lookup_of(edge), self._manifest.paths
        producers = self._manifest.producers
        outs: list[str] = []
        for text in texts:
            path = clean[evaluate(text, lookup)]
            if not path:
                self._lexer.fail("empty path")
            other = producers.setdefault(path, edge)
            if other is not edge:
                self._lexer.fail(f"multiple rules generate {path}")
            if path in outs:
                self._lexer.fail(f"{path} is defined as an output multiple times")
            outs.append(path)
        edge.outs = tuple(outs)

    def _settle_phony(self, edge: Edge) -> None:
        """Drop a phony edge's own output from its inputs: CMake 2.8.12 and 3.0 wrote such."""
        if edge.rule is not PHONY or len(edge.outs) != 1 or edge.hidden_outs or edge.hidden_ins:
            return
        out = edge.outs[0]
        if self._manifest.is_phonycycle_error or out not in edge.inputs():
            return
        edge.ins = tuple(path for path in edge.ins if path != out)
        edge.after = tuple(path for path in edge.after if path != out)
        self._manifest.mended.append(out)
        self._manifest.warnings.append(
            f"phony target '{out}' names itself as an input; ignoring [-w phonycycle=warn]"
        )

    def _settle_dyndep(self, edge: Edge) -> None:
        name = Expansion(edge, is_quoted=False).lookup("dyndep")
        if not name:
            return
        edge.dyndep = self._manifest.paths[name]
        if edge.dyndep not in edge.inputs():
            self._lexer.fail(f"dyndep '{edge.dyndep}' is not an input")


_STATEMENTS: Final[dict[Token, Callable[[_File], None]]] = {
    Token.BUILD: _File._edge,
    Token.DEFAULT: _File._default,
    Token.INCLUDE: _File._include,
    Token.POOL: _File._pool,
    Token.RULE: _File._rule,
    Token.SUBNINJA: _File._subninja,
}


def _lookup_of(edge: Edge) -> Callable[[str], str]:
    """What a variable in an edge's paths means: its own, else the file's; never its rule's."""
    own, scope = edge.bindings(), edge.scope
    if not own:
        return scope.lookup

    def lookup(name: str) -> str:
        value = own.get(name)
        return scope.lookup(name) if value is None else value

    return lookup
