"""The ninja front end: the manifest language, read into a graph of nodes. It runs nothing."""
