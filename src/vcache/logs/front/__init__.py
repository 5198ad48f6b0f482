"""The front end: what a program says becomes records, at a microsecond a call, and survives its end.

It must not know how a store keeps records, nor who asks for them.
"""
