"""One process, one store, every dialect: what `vcache serve` runs (docs/design/server.md)."""
