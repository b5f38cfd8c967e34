"""A map of the code, made from the imports of the sources: packages as boxes, imports as arrows."""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

import spikeinterface_huidurep

PACKAGE = Path(spikeinterface_huidurep.__file__).parent
TOP = "top"

# where each box stands (column, row), and what is written in it; a test compares the names with the packages there are
BOXES = {
    "commands": (1, 0, "one module for each subcommand"),
    "matching": (0, 1, "units over days"),
    "curation": (0, 2, "analyzer, suggestions, GUI, report"),
    "benchmark": (2, 1, "recordings with truth, other sorters"),
    TOP: (1, 2, "sorter.py, sort.py, parameters.py ..."),
    "stages": (0, 3, "one file for each stage of the sort"),
    "simulation": (2, 3, "spike templates from neuron models"),
    "encoder": (1, 4, "network, training, inference"),
}
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 260, 64, 50, 70, 10


def read_map(package: Path = PACKAGE) -> dict[str, set[str]]:
    """
    Which part of the package imports which.

    Parameters
    ----------
    package : Path
        The folder of `spikeinterface_huidurep`.

    Returns
    -------
    dict of set of str
        For each subpackage, and for `TOP` (the modules beside them), the other parts that it imports, at the head of
        a module or inside a function.
    """
    parts = {path.parent.name for path in package.glob("*/__init__.py")}
    imports: dict[str, set[str]] = {part: set() for part in (*parts, TOP)}
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).parts
        if len(inside) > 1 and inside[0] not in parts:
            continue
        part = inside[0] if len(inside) > 1 else TOP
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            imports[part] |= _imported(node, len(inside), part, parts)
    return {part: targets - {part} for part, targets in imports.items()}


def _imported(node: ast.AST, depth: int, part: str, parts: set[str]) -> set[str]:
    """Parts that one import statement of a module names; `depth` is 1 for a module beside the subpackages."""
    if not isinstance(node, ast.ImportFrom):
        return set()
    if node.level == 0:
        names = (node.module or "").split(".")
        if names[0] != PACKAGE.name:
            return set()
        rest = names[1:]
    elif node.level == depth:
        rest = (node.module or "").split(".") if node.module else []
    else:
        return {part}
    if rest:
        return {rest[0] if rest[0] in parts else TOP}
    return {alias.name if alias.name in parts else TOP for alias in node.names}


def draw_map(imports: dict[str, set[str]]) -> str:
    """Return the map as SVG; an arrow goes from the part that imports to the part that is imported."""
    columns = 1 + max(box[0] for box in BOXES.values())
    rows = 1 + max(box[1] for box in BOXES.values())
    width = columns * WIDTH + (columns - 1) * GAP_X + 2 * MARGIN
    height = rows * HEIGHT + (rows - 1) * GAP_Y + 2 * MARGIN
    pieces = [
        f'<svg viewBox="0 0 {width} {height}" style="max-width:100%;height:auto" xmlns="http://www.w3.org/2000/svg">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L10,5 L0,10 z" fill="#888"/></marker></defs>',
    ]
    for part, targets in sorted(imports.items()):
        pieces += [_arrow(part, target) for target in sorted(targets)]
    for name, (_, _, text) in BOXES.items():
        pieces.append(_box(name, text))
    return "".join([*pieces, "</svg>"])


def _corner(name: str) -> tuple[float, float]:
    column, row, _ = BOXES[name]
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def _box(name: str, text: str) -> str:
    x, y = _corner(name)
    title = "spikeinterface_huidurep" if name == TOP else f"{name}/"
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#eef3fa" stroke="#4a6fa5"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + 26}" text-anchor="middle" font-size="16" font-weight="bold" '
        f'fill="#1c2b41">{escape(title)}</text>'
        f'<text x="{x + WIDTH / 2}" y="{y + 48}" text-anchor="middle" font-size="11" '
        f'fill="#1c2b41">{escape(text)}</text>'
    )


def _arrow(start: str, end: str) -> str:
    (x1, y1), (x2, y2) = ((x + WIDTH / 2, y + HEIGHT / 2) for x, y in (_corner(start), _corner(end)))
    dx, dy = x2 - x1, y2 - y1
    # from border to border of the boxes, arrows of both directions beside each other
    share = min(WIDTH / 2 / abs(dx) if dx else 1.0, HEIGHT / 2 / abs(dy) if dy else 1.0)
    length = (dx**2 + dy**2) ** 0.5
    ox, oy = -dy / length * 7, dx / length * 7
    return (
        f'<line x1="{x1 + dx * share + ox:.0f}" y1="{y1 + dy * share + oy:.0f}" x2="{x2 - dx * share + ox:.0f}" '
        f'y2="{y2 - dy * share + oy:.0f}" stroke="#888" stroke-width="1.5" marker-end="url(#tip)"/>'
    )
