"""Jobs over HTTP: asking for them, working on them, watching them (docs/design/jobs.md)."""
