"""vcache: everything a build produces is an entry, found by the fingerprint of what went into it."""
