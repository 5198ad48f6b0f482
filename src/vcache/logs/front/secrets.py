"""Secrets, taken out of what is said before it leaves the process.

Two ways to know one: the name of a field says so, or a text looks like one. To look at every text with
regular expressions costs 5 µs. So a text is asked for letters that each of the patterns needs, which costs
0.5 µs, and those without a secret are remembered: most of what a program says, it says again. It must not
know where records go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from vcache.errors import UsageError
from vcache.logs.record import Mark, Record
from vcache.query.syntax import Value

__all__ = ["HIDDEN", "Redactor", "is_suspicious"]

HIDDEN: Final = "[REDACTED]"

_NAMES: Final = re.compile(
    r"passw(?:or)?d|passphrase|secret|(?:^|[._-])pwd$|token(?!s)|authorization|api[._-]?key|access[._-]?key"
    r"|private[._-]?key|cookie|credential|(?:^|[._-])auth$|session[._-]?id",
    re.IGNORECASE,
)
# They say how many, how long or which kind, and are no secrets themselves.
_OTHERWISE: Final = re.compile(
    r"(?:count|length|size|type|kind|name|used|limit|ms|s|ns|bytes)$", re.IGNORECASE
)
_OTHERWISE_WORDS: Final = re.compile(r"[._-]|(?=[A-Z])")

_WORD: Final = (
    r"passw(?:or)?d|passphrase|secret|token|api[_-]?key|apikey|access[_-]?key|credential|authorization"
)
# A text may be long and be somebody else's: nothing repeats without a bound but where a match begins at few places,
# or what was read belongs to it. So the time is proportional to the length.
_PATTERNS: Final = re.compile(
    # a password in an address
    r"(?P<url>://[^\s/:@]*:)[^\s/]+(?=@)"
    # "name": "value"
    rf"|(?P<quoted>(?i:(?:{_WORD})[\"']\s?:\s?[\"']))(?:[^\"'\\\n]|\\.)+"
    # --name value, where the value is no word of a sentence
    r"|(?P<option>(?i:--[\w-]{0,64}(?:passw(?:or)?d|passphrase|secret|token|key)\s{1,16}))"
    r"(?=[^\s\"']{0,128}[^\sA-Za-z\"'.,:;)/])(?!-)[^\s\"']+"
    # a password is one also where it has digits only
    r"|(?P<only>(?i:passw(?:or)?d[\"']?=[\"']?))[^\s\"'&,;)\]}]+"
    # NAME=value, also in the query of an address and in quotes
    rf"|(?P<pair>(?i:(?:{_WORD})[\w-]{{0,64}}[\"']?=[\"']?(?:(?:bearer|basic)\s{{1,16}})?))(?!\d{{1,9}}\b)[^\s\"'&,;)\]}}]+"
    # NAME: value, where the value is no word of a sentence
    r"|(?P<said>(?i:(?:passw(?:or)?d|passphrase|secret|api[_-]?key)[\"']?:\s{0,16}[\"']?))"
    r"(?=[^\s\"']{0,128}[^\sA-Za-z\"'.,:;)/])[^\s\"']{6,}"
    r"|(?P<header>(?i:\bauthorization[\"']?:\s{0,16}[\"']?(?:\w{1,64}\s{1,16})?))[^\s\"',]{6,}"
    r"|(?P<bearer>\b(?:[Bb]earer|BEARER)\s{1,16})(?=[^\s]{0,128}[\d._~+/=-])[A-Za-z0-9._~+/=-]{8,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[\w-]{8,2000}\.eyJ[\w-]{4,}\.[\w-]*"
    r"|\bAIza[\w-]{35}|\b[sr]k_live_\w{16,}"
)

_FORM_CHARS: Final = 14
_SHORT_CHARS: Final = 6
_KNOWN_CHARS: Final = 256
_MOST_KNOWN: Final = 8192
_NUMBERS: Final = frozenset((int, float, bool, type(None)))


def is_suspicious(text: str) -> bool:
    """Whether a text may have a secret: False is certain, True is to be looked at.

    Written out, since a loop over letters to look for takes three times as long.
    """
    if len(text) < _SHORT_CHARS:
        return False
    if ("=" in text or ":" in text or "--" in text) and ("@" in text or _is_announced(text.lower())):
        return True
    if len(text) < _FORM_CHARS:  # all that is known by its form alone is longer
        return False
    if ("_" in text or "-" in text) and (
        "ghp_" in text or "gho_" in text or "ghu_" in text or "ghs_" in text or "ghr_" in text
        or "pat_" in text or "pat-" in text or "k_live_" in text or "xox" in text or "PRIVATE KEY" in text
    ):  # fmt: skip
        return True
    return (
        "AKIA" in text
        or "ASIA" in text
        or "AIza" in text
        or "eyJ" in text
        or "earer" in text
        or "EARER" in text
    )


def _is_announced(text: str) -> bool:
    return (
        "pass" in text or "secret" in text or "token" in text or "key" in text or "credential" in text
        or "authorization" in text
    )  # fmt: skip


class Redactor:
    """Takes secrets out.

    Args:
        names: further names of fields whose values are secrets, in any case of letters.
        patterns: further regular expressions; what they match is hidden, or their first group where they
            have one.
        also: asked for every text last; what it gives is kept. When it raises, the text is hidden whole.

    Patterns and functions of one's own are asked every time: they have no letters to look for first.

    Raises:
        UsageError: a pattern that is none, or one text instead of several.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        patterns: Iterable[str] = (),
        also: Callable[[str], str] | None = None,
    ) -> None:
        if isinstance(names, str) or isinstance(patterns, str):
            raise UsageError(
                f"one text, {names or patterns!r:.80}: give a list of names, and one of patterns"
            )
        self._names = frozenset(name.lower() for name in names)
        self._patterns = tuple(map(_compiled, patterns))
        self._also = also
        self.is_plain: Final = not self._patterns and also is None
        self.clean_names: Final[set[str]] = set()
        """Names of fields that are known to be harmless; what is not among them is to be asked for."""
        self.clean_texts: Final[set[object]] = set()
        """Texts that are known to have no secret, for whoever is `is_plain`."""

    def is_secret_name(self, name: str) -> bool:
        """Whether a field's name says that its value is a secret."""
        if name.lower() in self._names:
            return True
        found = _NAMES.search(name)
        if found is None:
            # As many as people write; names that are made up at run time shall not fill memory.
            if len(self.clean_names) < 4096 and name not in ("exc_info", "stack_info"):
                self.clean_names.add(name)
            return False
        words = _OTHERWISE_WORDS.split(name[found.end() :])
        return len(words) < 2 or _OTHERWISE.fullmatch(words[-1]) is None

    def is_clean(self, value: object) -> bool:
        """Whether a message or a field's value is text without secrets, or a number. Remembers texts."""
        kind = value.__class__
        if kind is not str:
            return kind in _NUMBERS
        if value in self.clean_texts:
            return True
        assert isinstance(value, str)
        if is_suspicious(value) and _PATTERNS.search(value) is not None:
            return False
        if len(value) <= _KNOWN_CHARS:
            known = self.clean_texts
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known.add(value)
        return True

    def text(self, text: str) -> str:
        """A text without what looks like a secret; the very same where nothing does."""
        if self.is_plain and text in self.clean_texts:
            return text
        if is_suspicious(text):
            text = _PATTERNS.sub(_hide, text)
        for pattern in self._patterns:
            text = pattern.sub(_hide_group, text)
        if self._also is not None:
            try:
                text = self._also(text)
            except Exception:  # somebody's own function: rather too little is shown
                return HIDDEN
        return text

    def fields(self, fields: Mapping[str, Value]) -> Mapping[str, Value]:
        """Fields without secrets; the very same where there are none."""
        changed: dict[str, Value] = {}
        for name, value in fields.items():
            if name not in self.clean_names and self.is_secret_name(name):
                if value is not None and value != HIDDEN:
                    changed[name] = HIDDEN
            elif type(value) is str:
                text = self.text(value)
                if text is not value and text != value:
                    changed[name] = text
        return {**fields, **changed} if changed else fields

    def record(self, record: Record) -> Record:
        """A record without secrets, marked when it had some."""
        fields = record.fields
        if self.is_plain and self.clean_names.issuperset(fields):
            is_clean = self.is_clean
            if is_clean(record.message) and all(map(is_clean, fields.values())):
                return record
        message, fields = self.text(record.message), self.fields(record.fields)
        if message == record.message and fields is record.fields:
            return record
        return record._replace(message=message, fields=fields, marks=record.marks | Mark.REDACTED)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r} of secrets: {error}") from None


def _hide(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup] if found.lastgroup else ''}{HIDDEN}"


def _hide_group(found: re.Match[str]) -> str:
    if not found.re.groups or found[1] is None:
        return HIDDEN
    whole, start = found[0], found.start()
    return whole[: found.start(1) - start] + HIDDEN + whole[found.end(1) - start :]
