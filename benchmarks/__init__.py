"""vcache against its peers: every figure is a ratio to a peer measured in the same run.

`python -m benchmarks` runs the campaign and keeps results/<name>.json; `python -m benchmarks
report` turns those into results/README.md. It knows vcache's public face, and the rooms below it
only where a constant of theirs is what is measured.
"""
