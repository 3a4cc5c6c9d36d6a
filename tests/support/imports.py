"""The project's imports, read from its source: which file imports which, also inside functions.

python -m tests.support.imports    prints the arrows between rooms, the circles, files and functions by length
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "geograph_types"
TRAVELLING = tuple(sorted(path.stem for path in ROOT.glob("*_geograph.py")))
COMMANDS = tuple(sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in TRAVELLING))


def modules() -> dict[str, Path]:
    """Dotted name → file: travelling files, commands, the library."""
    files = {path.stem: path for path in ROOT.glob("*.py")}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return dict(sorted(files.items()))


def imports_of(path: Path, known: dict[str, Path]) -> set[str]:
    """The project's own modules that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:  # `from .x import y` counts as x
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name for name in names if name in known}
    # `import a.b` reads a, too, which holds nothing but a sentence.
    return {name for name in found if known[name].name != "__init__.py"}


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports_of(path, known) - {name} for name, path in known.items()}


def room_of(name: str) -> str:
    """The room of a module: its folder in the library, else "commands", "travelling files" or "shared"."""
    parts = name.split(".")
    if parts[0] == PACKAGE:
        return parts[1] if len(parts) > 1 and (ROOT / PACKAGE / parts[1]).is_dir() else "shared"
    return "travelling files" if name in TRAVELLING else "commands"


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def room_arrows(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room → the rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for name, others in arrows.items():
        found.setdefault(room_of(name), set()).update(room_of(other) for other in others)
    return {room: others - {room} for room, others in found.items()}


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Each function of a file: its name, its lines, its positional parameters without self."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
            yield node.name, node.end_lineno - node.lineno + 1, len(parameters)


def report() -> None:
    arrows, known = graph(), modules()
    print(f"{len(COMMANDS)} commands and {len(TRAVELLING)} travelling files at the root, {len(known)} modules in all")
    print(f"{sum(map(len, arrows.values()))} arrows between modules, circles: {circles(arrows) or 'none'}")
    between = sum(room_of(a) != room_of(b) for a, others in arrows.items() for b in others)
    print(f"{between} arrows between rooms, circles: {circles(room_arrows(arrows)) or 'none'}")
    for room, others in sorted(room_arrows(arrows).items()):
        print(f"  {room}: {', '.join(sorted(others)) or 'nothing'}")
    lengths = sorted(((len(p.read_text().splitlines()), n) for n, p in known.items()), reverse=True)
    print("longest files: " + ", ".join(f"{name} {lines}" for lines, name in lengths[:8]))
    everything = [(lines, name, module, count) for module, p in known.items() for name, lines, count in functions(p)]
    long = sorted((f for f in everything if f[0] > 50), reverse=True)
    print(f"{len(long)} of {len(everything)} functions over 50 lines")
    for lines, name, module, _ in long:
        print(f"  {module}.{name}: {lines} lines")
    for _, name, module, count in everything:
        if count > 5:
            print(f"  {module}.{name}: {count} positional parameters")


if __name__ == "__main__":
    report()
