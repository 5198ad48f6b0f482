"""Pictures of a plan: Graphviz's language, JSON, SVG, and a page that needs nothing else. Pure.

The layout is that of Sugiyama, Tagawa and Toda (1981): layers by the longest way, order within a
layer by the mean place of neighbours. It knows plans, and nothing of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from vcache.dag.graph import levels
from vcache.kit.data import dataclass
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.dag.plan import Planned

__all__ = ["DRAWN_MOST", "as_dot", "as_html", "as_json", "as_svg"]

DRAWN_MOST: Final = 2_000
"""More boxes than this are no picture."""

_BOX_HEIGHT: Final = 34
_LAYER_GAP: Final = 46
_GAP: Final = 14
_CHAR_WIDTH: Final = 6.6
_SWEEPS: Final = 4
_LABEL_MOST: Final = 40
_COLOURS: Final = {
    "up to date": "#5b8c5a",
    "in the cache": "#3b7dd8",
    "has to run": "#c8553d",
    "a name": "#888888",
    "not known": "#888888",
}


@dataclass(frozen=True, slots=True)
class _Box:
    planned: Planned
    x: float
    y: float
    width: float
    heat: float  # 0 for the cheapest, 1 for the dearest
    is_critical: bool

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def as_dot(nodes: Sequence[Planned], critical: Sequence[str]) -> str:
    """A graph in Graphviz's language."""
    chain, heat = _chain(critical), _heats(nodes)
    lines = [
        "digraph build {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="sans"];',
    ]
    known = {planned.name for planned in nodes}
    for planned in nodes:
        attributes = {
            "label": "\n".join(_lines(planned)),
            "fillcolor": _fill(heat[planned.name]),
            "color": _COLOURS.get(planned.standing, "#888888"),
            "penwidth": "3" if planned.name in critical else "1",
        }
        words = ", ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
        lines.append(f"  {_quoted(planned.name)} [{words}];")
    for planned in nodes:
        for need in planned.needs:
            if need in known:
                bold = " [penwidth=3]" if (need, planned.name) in chain else ""
                lines.append(f"  {_quoted(need)} -> {_quoted(planned.name)}{bold};")
    return "\n".join([*lines, "}", ""])


def as_json(nodes: Sequence[Planned], critical: Sequence[str]) -> str:
    """An object with `nodes` and `critical_path`, a list of names."""
    rows = [
        {
            "name": planned.name,
            "rule": planned.node.rule,
            "outs": list(planned.outs),
            "needs": list(planned.needs),
            "sources": list(planned.sources),
            "standing": planned.standing,
            "reason": planned.reason,
            "cost_s": planned.cost_ns / 1e9,
            "place": planned.node.place,
        }
        for planned in nodes
    ]
    return json.dumps({"nodes": rows, "critical_path": list(critical)}, indent=2, ensure_ascii=False) + "\n"


def as_svg(nodes: Sequence[Planned], critical: Sequence[str]) -> str:
    """A picture: what is dear is dark, the critical path is bold, the frame tells where a node stands."""
    boxes = _laid_out(nodes, critical)
    width = max((box.x + box.width for box in boxes.values()), default=0) + _GAP
    height = max((box.y for box in boxes.values()), default=0) + _BOX_HEIGHT + _GAP
    chain = _chain(critical)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11">'
    )
    edges = (
        _edge(boxes[need], box, is_bold=(need, box.planned.name) in chain)
        for box in boxes.values()
        for need in box.planned.needs
        if need in boxes
    )
    return "\n".join([head, *edges, *map(_drawn, boxes.values()), "</svg>", ""])


def as_html(nodes: Sequence[Planned], critical: Sequence[str], *, title: str) -> str:
    """A page with the picture, a search, zoom and drag; it loads nothing."""
    keys = "".join(
        f'<span style="border:2px solid {colour}">{escape(word)}</span>'
        for word, colour in _COLOURS.items()
        if word != "not known"
    )
    return _PAGE.format(
        title=escape(title), svg=as_svg(nodes, critical), keys=keys, count=len(nodes),
        path=escape(" → ".join(critical)),
    )  # fmt: skip


def _drawn(box: _Box) -> str:
    planned = box.planned
    first, second = _lines(planned)
    tip = "\n".join(
        filter(None, (planned.name, planned.node.rule, planned.standing, planned.reason, planned.node.place))
    )
    dark = box.heat > 0.55
    ink = "#ffffff" if dark else "#1c1c1c"
    stroke = 3 if box.is_critical else 1.2
    return (
        f'<g class="node" data-name="{escape(planned.name)}"><title>{escape(tip)}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{_BOX_HEIGHT}" rx="5" '
        f'fill="{_fill(box.heat)}" stroke="{_COLOURS.get(planned.standing, "#888888")}" stroke-width="{stroke}"/>'
        f'<text x="{box.middle:.1f}" y="{box.y + 14:.1f}" text-anchor="middle" fill="{ink}">{escape(first)}</text>'
        f'<text x="{box.middle:.1f}" y="{box.y + 27:.1f}" text-anchor="middle" fill="{ink}" '
        f'font-size="9">{escape(second)}</text></g>'
    )


def _edge(start: _Box, end: _Box, *, is_bold: bool) -> str:
    y1, y2 = start.y + _BOX_HEIGHT, end.y
    half = (y1 + y2) / 2
    look = 'stroke="#c8553d" stroke-width="2.4"' if is_bold else 'stroke="#9a9a9a" stroke-width="0.8"'
    return (
        f'<path d="M{start.middle:.1f},{y1:.1f} C{start.middle:.1f},{half:.1f} {end.middle:.1f},{half:.1f} '
        f'{end.middle:.1f},{y2:.1f}" fill="none" {look}/>'
    )


def _laid_out(nodes: Sequence[Planned], critical: Sequence[str]) -> dict[str, _Box]:
    by_name = {planned.name: planned for planned in nodes}
    needs = {name: [need for need in planned.needs if need in by_name] for name, planned in by_name.items()}
    level = levels(by_name, needs.__getitem__)
    layers: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in by_name:
        layers[level[name]].append(name)
    _order(layers, needs)
    heat = _heats(nodes)
    widths = {
        name: max(len(line) for line in _lines(planned)) * _CHAR_WIDTH + 16
        for name, planned in by_name.items()
    }
    widest = max((sum(widths[name] + _GAP for name in layer) for layer in layers), default=0)
    boxes: dict[str, _Box] = {}
    for number, layer in enumerate(layers):
        # Each layer stands in the middle.
        x = _GAP + (widest - sum(widths[name] + _GAP for name in layer)) / 2
        for name in layer:
            y = _GAP + number * (_BOX_HEIGHT + _LAYER_GAP)
            boxes[name] = _Box(by_name[name], x, y, widths[name], heat[name], name in critical)
            x += widths[name] + _GAP
    return boxes


def _order(layers: list[list[str]], needs: Mapping[str, Sequence[str]]) -> None:
    """Order each layer by the mean place of neighbours, down and up in turn."""
    users: dict[str, list[str]] = {name: [] for name in needs}
    for name, its in needs.items():
        for need in its:
            users[need].append(name)
    for sweep in range(_SWEEPS):
        neighbours = needs if sweep % 2 == 0 else users
        place = {name: float(i) for layer in layers for i, name in enumerate(layer)}
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            means = {
                name: sum(place[each] for each in neighbours[name]) / len(neighbours[name])
                if neighbours[name]
                else place[name]
                for name in layer
            }
            layer.sort(key=means.__getitem__)
            place.update((name, float(i)) for i, name in enumerate(layer))


def _heats(nodes: Sequence[Planned]) -> dict[str, float]:
    most = max((planned.cost_ns for planned in nodes), default=0)
    return {planned.name: (planned.cost_ns / most) ** 0.5 if most else 0.0 for planned in nodes}


def _fill(heat: float) -> str:
    """From nearly white to dark amber."""
    light, dark = (255, 250, 240), (158, 77, 20)
    return "#" + "".join(f"{round(a + (b - a) * heat):02x}" for a, b in zip(light, dark, strict=True))


def _lines(planned: Planned) -> tuple[str, str]:
    name = planned.name if len(planned.name) <= _LABEL_MOST else "…" + planned.name[-_LABEL_MOST + 1 :]
    cost = format_duration(planned.cost_ns / 1e9) if planned.cost_ns else ""
    return name, ", ".join(filter(None, (planned.node.rule, cost)))


def _chain(critical: Sequence[str]) -> set[tuple[str, str]]:
    return set(pairwise(critical))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ margin: 0; font: 14px sans-serif; color: #1c1c1c; background: #fdfdfb }}
header {{ display: flex; gap: 1em; align-items: center; padding: .6em 1em; border-bottom: 1px solid #ddd }}
header span {{ padding: .1em .5em; border-radius: 4px; font-size: 12px }}
#path {{ padding: .4em 1em; color: #a03c28; font-size: 12px; overflow-x: auto; white-space: nowrap }}
#view {{ overflow: hidden; height: calc(100vh - 90px); cursor: grab }}
.node.dim {{ opacity: .15 }}
</style></head><body>
<header><b>{title}</b><span>{count} nodes</span>{keys}<input id="find" placeholder="find" autofocus></header>
<div id="path">critical path: {path}</div>
<div id="view">{svg}</div>
<script>
const view = document.getElementById('view'), svg = view.firstElementChild;
let [x, y, w, h] = svg.getAttribute('viewBox').split(' ').map(Number);
svg.setAttribute('width', '100%'); svg.setAttribute('height', '100%');
const show = () => svg.setAttribute('viewBox', [x, y, w, h].join(' '));
view.addEventListener('wheel', e => {{
  e.preventDefault();
  const r = svg.getBoundingClientRect(), f = e.deltaY > 0 ? 1.15 : 1 / 1.15;
  const px = x + w * (e.clientX - r.left) / r.width, py = y + h * (e.clientY - r.top) / r.height;
  x = px - (px - x) * f; y = py - (py - y) * f; w *= f; h *= f; show();
}}, {{passive: false}});
let held = null;
view.addEventListener('pointerdown', e => held = [e.clientX, e.clientY]);
window.addEventListener('pointerup', () => held = null);
window.addEventListener('pointermove', e => {{
  if (!held) return;
  const r = svg.getBoundingClientRect();
  x -= (e.clientX - held[0]) * w / r.width; y -= (e.clientY - held[1]) * h / r.height;
  held = [e.clientX, e.clientY]; show();
}});
document.getElementById('find').addEventListener('input', e => {{
  const word = e.target.value;
  for (const node of svg.querySelectorAll('.node'))
    node.classList.toggle('dim', word !== '' && !node.dataset.name.includes(word));
}});
</script></body></html>
"""
