"""Messages of foreign protocols, generated from descriptions in our own words. Plain data.

The sole importer of protobuf. `reapi_pb2` and `logs_pb2` are made by `python scripts/make_wire.py` from
`reapi.proto` and `logs.proto`.
"""
