"""Capabilities and ActionCache: what the server can do, and results of actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vcache.server import results
from vcache.server.dialects.reapi.calls import Call
from vcache.server.refused import Refusal, Refused
from vcache.server.results import HASH, RESULTS
from vcache.server.vault import Found
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import from_bytes, from_json

__all__ = ["BATCH_BYTES", "capabilities", "get_result", "update_result"]

BATCH_BYTES: Final = (4 << 20) - (64 << 10)
"""The most contents of one message: clients that were not told otherwise take 4 MiB."""
_INLINE_BYTES: Final = 3 << 20
_MOST_SAID: Final = 512  # characters of what a build says of itself


def capabilities(_: wire.GetCapabilitiesRequest, call: Call) -> wire.ServerCapabilities:
    """What is spoken here.

    Given to everybody, and with updates enabled for everybody: Bazel fails the whole build where it is
    refused here, or is told that it may not write; refused later, it builds on with a warning.
    """
    version = wire.SemVer
    return wire.ServerCapabilities(
        cache_capabilities=wire.CacheCapabilities(
            digest_functions=[wire.SHA256, wire.BLAKE3],
            action_cache_update_capabilities=wire.ActionCacheUpdateCapabilities(update_enabled=True),
            max_batch_total_size_bytes=BATCH_BYTES,
            symlink_absolute_path_strategy=wire.ALLOWED,
            supported_compressors=[wire.ZSTD],
            supported_batch_update_compressors=[wire.ZSTD],
            max_cas_blob_size_bytes=call.desk.limit_bytes,
        ),
        low_api_version=version(major=2, minor=0),
        high_api_version=version(major=2, minor=3),
    )


def get_result(request: wire.GetActionResultRequest, call: Call) -> wire.ActionResult:
    """The result of an action, if all is there that it refers to."""
    call.outcome = "miss"
    vault, namespace = call.desk.vault, call.caller.namespace
    found = vault.get(namespace, RESULTS, _name(request.instance_name, request.action_digest))
    result = None if found is None else _parsed(found)
    if found is None or result is None or not results.is_whole(vault, namespace, result):
        raise Refused(Refusal.ABSENT, f"no result of {request.action_digest.hash:.64}")
    call.hit(found)
    _inline(request, result, call)
    call.out_bytes = result.ByteSize()
    return result


def update_result(request: wire.UpdateActionResultRequest, call: Call) -> wire.ActionResult:
    """Keep the result of an action."""
    results.require_results(call.caller)
    name = _name(request.instance_name, request.action_digest)
    body = request.action_result.SerializeToString()
    call.in_bytes = len(body)
    call.desk.admit(call.caller, len(body))
    cost_ns = results.cost_ns(request.action_result)
    kept = call.desk.vault.put(
        call.caller.namespace, RESULTS, name, body, meta=_said(call.said()), cost_ns=cost_ns
    )
    call.outcome = "put"
    call.desk.note(call.caller, "put", "reapi", RESULTS, name, kept)
    return request.action_result


def _name(instance: str, action: wire.Digest) -> str:
    if not HASH.fullmatch(action.hash) or len(instance) > 256:
        raise Refused(Refusal.MALFORMED, f"{action.hash!r:.80} is no SHA-256 or BLAKE3 in hexadecimal")
    return results.result_name(instance.strip("/"), action.hash)


def _parsed(found: Found) -> wire.ActionResult | None:
    """The result that a value is; None of what ccache keeps here."""
    if found.size_bytes > BATCH_BYTES:
        return None
    is_json = found.meta.get("type") == "application/json"
    try:
        return (from_json if is_json else from_bytes)(wire.ActionResult, bytes(found.body))
    except ValueError:
        return None


def _said(metadata: wire.RequestMetadata) -> Mapping[str, str]:
    """What is kept of what the build said: whose action it is."""
    said = {
        "target": metadata.target_id,
        "mnemonic": metadata.action_mnemonic,
        "tool": f"{metadata.tool_details.tool_name} {metadata.tool_details.tool_version}".strip(),
    }
    return {name: text[:_MOST_SAID] for name, text in said.items() if text}


def _inline(request: wire.GetActionResultRequest, result: wire.ActionResult, call: Call) -> None:
    """Put in what is asked for, as far as the message holds it."""
    left = _INLINE_BYTES - result.ByteSize()

    def taken(digest: wire.Digest) -> bytes:
        nonlocal left
        if not 0 < digest.size_bytes <= left:
            return b""
        found = results.content(call.desk.vault, call.caller.namespace, digest.hash)
        if found is None:
            return b""
        left -= found.size_bytes
        return bytes(found.body)

    if request.inline_stdout and not result.stdout_raw:
        result.stdout_raw = taken(result.stdout_digest)
    if request.inline_stderr and not result.stderr_raw:
        result.stderr_raw = taken(result.stderr_digest)
    paths = set(request.inline_output_files)
    for file in result.output_files if paths else ():
        if file.path in paths and not file.contents:
            file.contents = taken(file.digest)
