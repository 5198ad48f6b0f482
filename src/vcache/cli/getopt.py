"""Words of a command line, read one after the other as glibc's `getopt_long` reads them.

For front ends that stand in for another program: what comes first is acted on first, so
`--version --bogus` prints a version. It must not know any option's meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["BadOption", "Options"]


class BadOption(Exception):
    """A word that is no option, lacks its value or has one too many. The message is glibc's."""


class Options:
    """Iterates over (letter or long name, value) pairs; what is no option is kept in `operands`.

    Args:
        words: without the program's name.
        letters: as for `getopt`: a letter with ":" behind it takes a value.
        names: long options and what each is told as; a name that ends with "=" takes a value.
    """

    def __init__(self, words: Sequence[str], letters: str, names: Mapping[str, str] | None = None) -> None:
        self.operands: list[str] = []
        self._rest = list(words)
        self._letters = letters
        self._names = dict(names or {})

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while self._rest:
            word = self._rest.pop(0)
            if word == "--":
                self.operands += self._rest
                self._rest = []
            elif word.startswith("--"):
                yield self._long(word)
            elif word.startswith("-") and word != "-":
                yield from self._short(word[1:])
            else:
                self.operands.append(word)

    def rest(self) -> list[str]:
        """The words that have not been read."""
        return self._rest

    def _short(self, letters: str) -> Iterator[tuple[str, str]]:
        while letters:
            letter, letters = letters[0], letters[1:]
            at = self._letters.find(letter)
            if at < 0 or letter == ":":
                raise BadOption(f"invalid option -- '{letter}'")
            if self._letters[at + 1 : at + 2] != ":":
                yield letter, ""
                continue
            if not letters and not self._rest:
                raise BadOption(f"option requires an argument -- '{letter}'")
            yield letter, letters or self._rest.pop(0)
            return

    def _long(self, word: str) -> tuple[str, str]:
        name, equals, value = word[2:].partition("=")
        found = self._found(name, word)
        if found.endswith("="):
            if not equals:
                if not self._rest:
                    raise BadOption(f"option '--{found[:-1]}' requires an argument")
                value = self._rest.pop(0)
        elif equals:
            raise BadOption(f"option '--{found}' doesn't allow an argument")
        return self._names[found], value

    def _found(self, name: str, word: str) -> str:
        """The one long option that a name begins, or is."""
        found = [full for full in self._names if full.startswith(name)]
        exact = [full for full in found if full.removesuffix("=") == name]
        if exact or len(found) == 1:
            return (exact or found)[0]
        if not found:
            raise BadOption(f"unrecognized option '{word}'")
        which = " ".join(f"'--{full.removesuffix('=')}'" for full in found)
        raise BadOption(f"option '{word}' is ambiguous; possibilities: {which}")
