"""Small tools, each one file; none knows what a cache is."""
