"""The walls of the house, read from the imports themselves: data flows down, nothing runs in a circle."""

import subprocess
import sys

import pytest

from tests.support.imports import (
    COMMANDS,
    ROOT,
    TRAVELLING,
    circles,
    functions,
    graph,
    modules,
    room_arrows,
    room_of,
)

# What a room may import besides the shared files and the travelling ones; whoever is not named here may not be there.
BELOW = {
    "rows": set(),
    "hub": {"rows"},
    "dataset": {"rows", "hub"},
    "training": {"rows", "hub", "dataset"},
    "evaluation": {"rows", "hub", "dataset", "training"},
    "prediction": {"rows", "hub", "dataset"},
    "labelling": {"rows", "hub", "prediction"},
    "export": {"rows", "hub"},
    "official": {"rows"},
    "search": {"rows", "hub", "dataset", "prediction", "training"},
    "space": {"rows", "hub", "prediction"},
}
ARROWS = graph()
PIPELINE_METHODS = ("get_iterator", "_sanitize_parameters")


def test_no_circle_between_files():
    assert not circles(ARROWS)


def test_no_circle_between_rooms():
    library = {room: others - {"commands"} for room, others in room_arrows(ARROWS).items() if room != "commands"}
    assert not circles(library)


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("room", sorted(set(map(room_of, ARROWS)) - {"commands", "travelling files", "shared"}))
def test_a_room_imports_only_what_lies_below(room):
    above = room_arrows(ARROWS)[room] - BELOW[room] - {"shared", "travelling files"}
    assert not above, f"{room} imports {above}"


def test_no_room_imports_a_command():
    for name, others in ARROWS.items():
        found = others & set(COMMANDS)
        assert not found, f"{name} imports the command {found}"


def test_travelling_files_import_one_another_only():
    for name in TRAVELLING:
        assert ARROWS[name] <= set(TRAVELLING), name
    assert not ARROWS["names_geograph"]


def test_the_shared_files_import_no_room():
    assert room_arrows(ARROWS)["shared"] <= {"travelling files"}


def test_files_and_functions_stay_small():
    """A reader holds each in the head."""
    long = {name: lines for name, path in modules().items() if (lines := len(path.read_text().splitlines())) > 400}
    assert not long
    commands = {
        name: lines for name in COMMANDS if (lines := len((ROOT / f"{name}.py").read_text().splitlines())) > 150
    }
    assert not commands
    everything = [(module, *f) for module, path in modules().items() for f in functions(path)]
    assert sum(lines > 50 for _, _, lines, _ in everything) < 0.01 * len(everything)
    # A configuration has as many values as it has, and transformers fixes what a pipeline's methods take.
    theirs = {("configuration_geograph", "__init__"), *(("pipeline_geograph", name) for name in PIPELINE_METHODS)}
    found = {(module, name) for module, name, _, count in everything if count > 5}
    assert not found - theirs


def test_nobody_bends_the_path():
    """`python train.py` puts the root on the path, pytest has `pythonpath`; nothing else is needed."""
    for folder in (".", "geograph_types", "tests", "benchmarks"):
        for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py"):
            assert "sys.path" + ".insert" not in path.read_text(encoding="utf-8"), path


def test_the_library_loads_nothing_by_itself():
    code = "import sys, geograph_types; sys.exit(bool({'torch', 'numpy', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("entry", ["configuration_geograph", "modeling_geograph", "pipeline_geograph"])
def test_entry_files_name_all_that_they_need(entry):
    """transformers 5.4 copies what an entry file imports, and not what that file imports in its turn."""
    reached, waiting = set(), [entry]
    while waiting:
        for other in ARROWS[waiting.pop()] - reached:
            reached.add(other)
            waiting.append(other)
    assert reached - {entry} <= ARROWS[entry]
