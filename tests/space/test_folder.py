"""What belongs to the Space is found from its imports."""

import importlib.metadata

from geograph_types.space.folder import local_modules, requirements


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_every_file_that_is_imported_travels_and_no_other(tmp_path):
    write(
        tmp_path,
        app="import json, places\nfrom grid import x\ndef main():\n    import late\n",
        places="from .deep import y\nimport app\n",
        grid="",
        late="",
        deep="",
        unused="import app",
    )
    found = [file.stem for file in local_modules(tmp_path / "app.py")]
    assert found == ["app", "deep", "grid", "late", "places"]


def test_requirements_are_the_pins_of_what_is_imported(tmp_path):
    write(
        tmp_path, app="import gradio, pyproj\nfrom PIL import Image\n", other="def f():\n    import sklearn.metrics\n"
    )
    found = requirements([tmp_path / "app.py", tmp_path / "other.py"])
    assert found[0].startswith("torch=="), "what the model needs, torch first"
    assert f"pyproj=={importlib.metadata.version('pyproj')}" in found
    assert f"scikit-learn=={importlib.metadata.version('scikit-learn')}" in found
    names = [pin.split("==")[0] for pin in found]
    assert "gradio" not in names, "sdk_version brings it"
    assert "pytest" not in names and names.count("pillow") == 1
