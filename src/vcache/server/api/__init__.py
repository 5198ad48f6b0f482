"""The REST API: everything of a server that is on nobody's hot path, described by OpenAPI."""
