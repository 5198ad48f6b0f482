"""The queue of a `vcache serve`, spoken to over HTTP (docs/design/jobs.md)."""
