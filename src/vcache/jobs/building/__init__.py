"""Where builds and jobs meet: a build's nodes as jobs, and jobs as nodes of a build.

It knows the rooms on both sides: `vcache.dag`, which knows no jobs, and queues, which know no builds.
"""
