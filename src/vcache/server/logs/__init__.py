"""Logs over HTTP: senders of all kinds in, queries, live tails and a page to look at them out."""
