"""The messages of logs speak the public field numbers."""

from __future__ import annotations

import importlib

import pytest

from vcache.wire import logs_pb2


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collector.logs.v1.logs_service_pb2", "ExportLogsServiceRequest"),
        ("collector.logs.v1.logs_service_pb2", "ExportLogsServiceResponse"),
        ("collector.logs.v1.logs_service_pb2", "ExportLogsPartialSuccess"),
        ("logs.v1.logs_pb2", "ResourceLogs"),
        ("logs.v1.logs_pb2", "ScopeLogs"),
        ("logs.v1.logs_pb2", "LogRecord"),
        ("resource.v1.resource_pb2", "Resource"),
        ("common.v1.common_pb2", "InstrumentationScope"),
        ("common.v1.common_pb2", "KeyValue"),
        ("common.v1.common_pb2", "KeyValueList"),
        ("common.v1.common_pb2", "AnyValue"),
        ("common.v1.common_pb2", "ArrayValue"),
    ],
)
def test_every_field_of_otlp_has_the_public_number_and_type(module: str, name: str) -> None:
    """Text is bytes and an enumeration a number, which are the same on the wire."""
    theirs = getattr(importlib.import_module(f"opentelemetry.proto.{module}"), name).DESCRIPTOR.fields_by_name
    for field in getattr(logs_pb2, name).DESCRIPTOR.fields:
        public = theirs[field.name]
        kinds = {public.TYPE_STRING: public.TYPE_BYTES, public.TYPE_ENUM: public.TYPE_INT32}
        assert (field.number, field.type) == (public.number, kinds.get(public.type, public.type))
        assert field.is_repeated == public.is_repeated
