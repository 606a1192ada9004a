"""Standalone sources: siblings are written in, in order and once; what cannot be written out is refused."""

import ast
import importlib
import inspect
import sys

import pytest

from pipelines.export import standalone


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes modules of a new package, and returns the imported one of them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"sketch_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")

    def write(which, **sources):
        for stem, source in sources.items():
            (tmp_path / name / f"{stem}.py").write_text(source.replace("PACKAGE", name))
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.{which}")

    yield write
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[module]


def run(source):
    values = {"__name__": "exported"}
    exec(compile(source, "exported", "exec"), values)
    return values


HALF = '"""Halves."""\n\nfrom __future__ import annotations\n\nimport math\n\n\ndef half(x: float) -> float:\n    return math.floor(x) / 2\n'
QUARTER = (
    "import math\n\nfrom PACKAGE.half import half\n\nPI = math.pi\n\n\ndef quarter(x):\n    return half(half(x))\n"
)
MODEL = '"""What the file is."""\n\nfrom __future__ import annotations\n\nfrom PACKAGE.quarter import PI, quarter\nfrom PACKAGE.half import half\n\nVALUE = quarter(8) + half(2) + PI\n'


def test_siblings_are_written_in_each_once_after_those_they_need(package):
    module = package("model", half=HALF, quarter=QUARTER, model=MODEL)
    source = standalone(module)
    assert run(source)["VALUE"] == module.VALUE
    assert ast.get_docstring(ast.parse(source)) == "What the file is."
    assert source.count("def half") == source.count("def quarter") == source.count("import math") == 1
    assert source.index("def half") < source.index("def quarter") < source.index("VALUE =")
    assert not [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom) and "sketch" in (n.module or "")
    ]


def test_relative_imports_are_siblings_too(package):
    module = package("model", half=HALF, model="from .half import half\n\nVALUE = half(6)\n")
    assert run(standalone(module))["VALUE"] == 3


def test_what_was_exported_is_exported_as_it_is(package):
    source = standalone(package("model", half=HALF, quarter=QUARTER, model=MODEL))
    again = package("again", again=source)
    assert standalone(again) == source == inspect.getsource(again)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("from PACKAGE.half import half as h\n", "import plain names"),
        ("from PACKAGE.half import *\n", "import plain names"),
        ("from PACKAGE import half\n", "import plain names"),
        ("import PACKAGE.half\n", "import NAME"),
        ("from PACKAGE.half import half\n\n\ndef half(x):\n    return x\n", "stand twice"),
    ],
)
def test_what_cannot_be_written_out_is_refused(package, model, words):
    with pytest.raises(ValueError, match=words):
        standalone(package("model", half=HALF, model=model))
