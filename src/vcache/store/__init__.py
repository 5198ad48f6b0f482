"""Places that keep records by key: see `base` for the contract."""
