"""Inputs ▷ key: what a result depends on, how it is identified, and what of it has changed.

Nothing is re-exported: `inputs`, which every user of the public face loads, needs none of the rest.
"""
