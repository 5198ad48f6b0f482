"""The tree of errors: drawn, exported and caught as promised."""

from __future__ import annotations

import re

import pytest

from vcache import errors


def classes():
    return {name: getattr(errors, name) for name in errors.__all__}


def test_everything_is_a_vcache_error_and_documented():
    """Who catches the root catches all; each class says when it is raised."""
    for error in classes().values():
        assert issubclass(error, errors.VcacheError)
        assert error.__doc__


def test_the_drawing_is_the_tree():
    """The docstring shows every class once, below its base, with the built-in it also is."""
    drawn: dict[str, tuple[str | None, str | None]] = {}
    above: list[tuple[int, str]] = []  # columns and names, from the root to the last line
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^[ │├└─]*([A-Z]\w+)(?: \((\w+)\))?", line)
        if match is None or match[1] not in errors.__all__:
            continue
        while above and above[-1][0] >= match.start(1):
            above.pop()
        drawn[match[1]] = (above[-1][1] if above else None, match[2])
        above.append((match.start(1), match[1]))
    assert drawn.keys() == set(errors.__all__)
    for name, (base, built_in) in drawn.items():
        bases = [cls.__name__ for cls in getattr(errors, name).__bases__]
        assert bases == [each for each in (base, built_in) if each] or name == "VcacheError"


def test_mistakes_are_value_errors():
    """Misuse is caught by who knows only Python's own errors."""
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.FingerprintError, TypeError)
    assert issubclass(errors.EncodeError, TypeError)


@pytest.mark.parametrize("error", [e for e in classes().values() if issubclass(e, errors.StoreError)])
def test_a_store_error_says_whether_a_retry_helps(error):
    """Only what passes by itself is worth another try."""
    assert error("x").retryable is (error in (errors.StoreBusy, errors.StoreUnavailable))
