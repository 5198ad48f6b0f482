"""`python -m vcache`, and where the command `vcache` begins. It must not know any command."""

from __future__ import annotations

from vcache.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
