"""Builds: a graph of cached nodes. The names that a vcachefile uses, each loaded on first use."""
