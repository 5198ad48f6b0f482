"""Generate `vcache.wire.*_pb2` from `*.proto`: needs `pip install grpcio-tools`.

`python scripts/make_wire.py --check` fails if what is committed is not what would be made: the
descriptor inside is compared, for each version of protoc words the rest otherwise.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "src"
WIRE = Path("vcache/wire")
PROTOS = ("logs.proto", "reapi.proto")


def generated(directory: Path) -> dict[str, str]:
    """The text of each file that protoc makes."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    known = Path(protoc.__file__).parent / "_proto"
    arguments = [f"-I{ROOT}", f"-I{known}", f"--python_out={directory}", f"--pyi_out={directory}"]
    arguments += [str(WIRE / name) for name in PROTOS]
    if protoc.main(["protoc", *arguments]):
        sys.exit("protoc failed")
    made = {path.name: path.read_text() for path in (directory / WIRE).iterdir()}
    # The descriptor is read by every runtime since 3.20. The check would tie a wheel of vcache to one
    # major version of protobuf: that of whoever generated the file.
    return {name: _unbound(text) if name.endswith(".py") else text for name, text in made.items()}


def _unbound(python: str) -> str:
    python = re.sub(r"from google\.protobuf import runtime_version.*\n", "", python)
    python = re.sub(r"_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?:.*\n)*?\)\n", "", python)
    python = re.sub(r"# Protobuf Python Version:.*\n", "", python)
    assert "runtime_version" not in python
    return python


def main() -> None:
    """Write the files, or compare them."""
    with tempfile.TemporaryDirectory() as name:
        made = generated(Path(name))
    for name, text in made.items():
        path = ROOT / WIRE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif name.endswith(".py") and _descriptor(text) != _descriptor(path.read_text()):
            sys.exit(f"{path} is not what {WIRE} gives: run python scripts/make_wire.py")


def _descriptor(text: str) -> str:
    found = re.search(r"AddSerializedFile\((.*)\)", text)
    assert found
    return found[1]


if __name__ == "__main__":
    main()
