"""The reference page of a server's settings, made from their table. Writes nothing."""

from __future__ import annotations

from typing import Final

from vcache.server.settings import KEYS, describe

__all__ = ["settings"]

_PAGE: Final = """\
<!-- Made by docs/build.py from `vcache.server.settings.KEYS`: edit that, or docs/gen_server_settings.py. -->

# Settings of a server

How to run one: [run a server](../how-to/run-a-server.md). What it is: [docs/design/server.md](../design/server.md).

| key | variable | default | at SIGHUP | meaning |
|---|---|---|---|---|
{rows}

From the weakest to the strongest: these defaults; the file of `--config` or `VCACHE_SERVE_CONFIG` (`.toml`, `.json`,
`.yaml`, or `.ini` with a section `[serve]`); variables; flags. A relative path in a file is relative to that
file. `none` takes a budget away. Durations and sizes are written [as elsewhere](settings.md#durations-and-sizes).

A namespace has a table of its own:

```toml
[namespaces.ci]
quota = "50GB"       # a PUT beyond it is refused: 507
results = "builder"  # only builders say what an action's result is
```

What is marked `yes` changes when the server gets SIGHUP: all of it, or nothing where anything in the file is
wrong or needs a restart; the log says which. Open connections stay. Without `dir` it is the user's own cache
directory.
"""


def settings() -> str:
    """The page."""
    rows = [
        f"| `{key}` | `VCACHE_SERVE_{key.upper()}` | {f'`{default}`' if default else ''} "
        f"| {'yes' if KEYS[key].is_live else ''} | {meaning} |"
        for key, default, meaning in describe()
    ]
    return _PAGE.format(rows="\n".join(rows))
