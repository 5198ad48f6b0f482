"""What each kind of client says and expects; one module a dialect."""
