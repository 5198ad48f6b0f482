"""Laws of manifests: order is nothing, every field is everything, bytes come back or are refused."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from vcache.entry import Dep
from vcache.errors import DecodeError
from vcache.fingerprint.manifest import STORED, Manifest, Shared, row

# Any text at all, lone surrogates too: names of files are what the file system says.
texts = st.text(st.characters(), max_size=8)
deps = st.builds(Dep, texts, texts, st.binary(max_size=8), st.binary(max_size=4), texts)
lists = st.lists(deps, max_size=6)


@given(lists, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(given_deps: list[Dep], random: object) -> None:
    """Any order, with any repetition, is the same manifest, to the last byte."""
    shuffled = given_deps + given_deps[:2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Manifest(shuffled).fingerprint() == Manifest(given_deps).fingerprint()
    assert Manifest(shuffled).to_bytes() == Manifest(given_deps).to_bytes()


@given(lists, lists)
def test_shared_inputs_are_inputs_like_others(own: list[Dep], common: list[Dep]) -> None:
    """What is shared makes the same manifest as what is given: bytes, fingerprint and rows."""
    joined, plain = Manifest(own, shared=Shared(common)), Manifest([*own, *common])
    assert joined == plain
    assert joined.to_bytes() == plain.to_bytes()
    assert joined.fingerprint() == plain.fingerprint()
    assert [each[:4] for each in joined.rows] in ([], [row(dep) for dep in plain])


@given(lists, lists)
def test_equal_fingerprints_mean_equal_inputs(one: list[Dep], other: list[Dep]) -> None:
    """Two manifests share a fingerprint exactly if they hold the same kinds, names and identities."""
    same = {(d.kind, d.name, d.identity) for d in one} == {(d.kind, d.name, d.identity) for d in other}
    assert (Manifest(one).fingerprint() == Manifest(other).fingerprint()) is same
    assert (Manifest(one).diff(Manifest(other)) == ()) is same


@given(lists, deps, st.sampled_from(["kind", "name", "identity"]), texts, st.binary(max_size=8))
def test_a_change_of_any_field_counts(
    others: list[Dep], dep: Dep, field: str, text: str, data: bytes
) -> None:
    """Kind, name and identity each change the fingerprint and show up in the diff."""
    value: object = data if field == "identity" else text
    changed = dataclasses.replace(dep, **{field: value})  # type: ignore[arg-type]
    rest = [other for other in others if other not in (dep, changed)]
    old, new = Manifest([*rest, dep]), Manifest([*rest, changed])
    assert (old.fingerprint() == new.fingerprint()) is (changed == dep)
    assert bool(old.diff(new)) is (changed != dep)


@given(texts, texts, st.binary(max_size=8), st.integers(1, 8))
def test_fields_do_not_run_into_each_other(kind: str, name: str, identity: bytes, at: int) -> None:
    """Moving a character from one field to the next is another input."""
    moved = Dep(kind + name[:at], name[at:], identity)
    if moved.kind != kind:
        assert Manifest([moved]).fingerprint() != Manifest([Dep(kind, name, identity)]).fingerprint()


@given(lists)
def test_bytes_come_back(given_deps: list[Dep]) -> None:
    """`from_bytes` gives back what `to_bytes` took, hints and notes included."""
    manifest = Manifest(given_deps)
    back = Manifest.from_bytes(manifest.to_bytes())
    assert back == manifest
    assert [(d.hint, d.note) for d in back] == [(d.hint, d.note) for d in manifest]
    assert back.to_bytes() == manifest.to_bytes()


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_decoded_or_refused(data: bytes, is_marked: bool) -> None:
    """Nothing but a DecodeError comes out of foreign bytes, and what is taken is canonical."""
    data = STORED + data if is_marked else data
    try:
        manifest = Manifest.from_bytes(data)
    except DecodeError:
        return
    assert manifest.to_bytes() == data


@given(lists, st.data())
def test_a_flipped_bit_is_seen_or_refused(given_deps: list[Dep], data: st.DataObject) -> None:
    """Damaged bytes are never taken for the undamaged manifest."""
    stored = bytearray(Manifest(given_deps).to_bytes())
    at = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[at // 8] ^= 1 << at % 8
    try:
        manifest = Manifest.from_bytes(bytes(stored))
    except DecodeError:
        return
    assert manifest.to_bytes() == stored != Manifest(given_deps).to_bytes()


@given(st.lists(lists, min_size=1, max_size=4), lists)
def test_the_nearest_is_nearest(candidates: list[list[Dep]], mine: list[Dep]) -> None:
    """No candidate has fewer differences; an equal one has none."""
    manifests = [Manifest(one) for one in candidates]
    nearest = Manifest(mine).nearest(manifests)
    assert nearest is not None
    assert len(Manifest(mine).diff(nearest)) == min(len(Manifest(mine).diff(one)) for one in manifests)
