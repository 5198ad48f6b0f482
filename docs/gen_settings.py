"""The reference page of the settings, made from their table. Writes nothing."""

from __future__ import annotations

import dataclasses
from typing import Final

from vcache import config

__all__ = ["settings"]

_PAGE: Final = """\
<!-- Made by docs/build.py from `vcache.config.KEYS`: edit that, or docs/gen_settings.py. -->

# Settings

| key | variable | default | meaning |
|---|---|---|---|
{rows}

They hold for the `vcache` command and for `Cache()`. A cache that names its place, such as `Cache("DIR")`, has
decided and heeds `VCACHE_DISABLE` alone; it keeps to 20 GB. What is given in the call, such as `namespace=`, goes
before a setting. `memory_bytes` is for `Cache()`: the command has no memory tier. `flags` are
checked and shown, and change nothing but which tiers and remotes with `?flag=NAME` are used. `remote` takes a list of
addresses, each perhaps behind `name=`, or a table of addresses by name; they come below all other tiers, and
[`vcache push`](../how-to/push-and-pull.md) takes their names. Without `dir` it is the user's own cache directory, such as `~/.cache/vcache`.

## Where settings stand

From the weakest to the strongest:

1. The defaults above.
2. `config.toml` in the user's configuration directory, such as `~/.config/vcache/config.toml`.
3. The nearest file from the working directory upwards: `vcache.toml` (or `.json`, `.ini`, `.yaml`), or the
   table `[tool.vcache]` of a `pyproject.toml`.
4. Variables: the key in upper case behind `VCACHE_`. An empty one counts as not set.
5. Options of the command, such as `--dir`.

`VCACHE_CONFIG` names one file to be read in place of the two kinds above. A relative path in a file is
relative to that file, also one within an address. `none` takes a budget away. `vcache doctor` shows every value and who decided it.

```toml file=vcache.toml
dir = "build/.vcache"
max_bytes = "2GB"
max_age = "30d"
```

```console run
$ vcache doctor | grep -E " max_(bytes|age)"
  max_bytes     2000000000  (…/vcache.toml)
  max_age       2592000  (…/vcache.toml)
```

A slip is an error that says where it is:

```console run
$ VCACHE_MAX_BYTE=2GB vcache stats || true
vcache: error: unknown variable VCACHE_MAX_BYTE='2GB'; did you mean VCACHE_MAX_BYTES?
```

## Durations and sizes

A duration is a number of seconds, a `timedelta`, or text: a number and a unit (`ns`, `us`, `ms`, `s`, `m`,
`h`, `d`, `w`), also several: `"1h30m"`. A century is the most.

A size is a whole number of bytes, or text: `"64kB"` is 64,000 bytes, `"64KiB"` is 65,536; the letters are
`k`, `M`, `G`, `T`, `P`, in either case.

## Addresses of tiers

| address | store |
|---|---|
| `DIR` | a directory on the disk; alone in `Cache(DIR)`, the same as `"mem:64MB", "disk:DIR?max=20GB"` |
| `disk:DIR?max=20GB&max_age=30d&max_entries=100000&read_only=1` | a directory on the disk; each option may be left out |
| `mem:64MB?max_entries=1000` | memory of this process |
| `http://HOST[:PORT]/BASE`, `https://…` | [a server](../how-to/share-a-cache.md#the-address): `vcache serve`, WebDAV, any that takes PUT and GET, a Bazel cache |
| `s3://BUCKET/PREFIX` | [S3](../how-to/share-a-cache-on-s3.md) |
| `redis://HOST[:PORT]/DB`, `rediss://…`, `redis+unix:///SOCKET` | [Redis](../how-to/share-a-cache-on-redis.md) |
| `fs+NAME://…` | [a file system](../how-to/share-a-cache-on-a-file-system.md) that fsspec knows: `fs+sftp`, `fs+gcs`, … |
| `reapi://HOST[:PORT]/INSTANCE`, `reapis://…` | [a Bazel cache](../how-to/share-a-cache.md#the-address) over gRPC, without and with TLS |
| `NAME:…` | a store of a [plug-in](../how-to/write-a-store.md) |

All but the first three are on other machines. They take the options of [the guard](../design/network.md#the-guard) and of
[signatures and encryption](../how-to/sign-and-encrypt.md) beside their own, and need an extra, which is named where it is
missing.

Several, in the order in which they are asked: `Cache("mem:64MB", "disk:DIR")`. In an address `%20` is a
space; a plain path is taken as it is.
"""


def settings() -> str:
    """docs/reference/settings.md."""
    defaults = {each.name: each.default for each in dataclasses.fields(config.Settings)}
    rows = []
    for key, spec in config.KEYS.items():
        value = defaults.get(spec.attribute, dataclasses.MISSING)
        shown = "" if value in (dataclasses.MISSING, (), "") else f"`{_plain(value)}`"
        rows.append(f"| `{key}` | `VCACHE_{key.upper()}` | {shown} | {spec.meaning} |")
    return _PAGE.replace("{rows}", "\n".join(rows))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
