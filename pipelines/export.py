"""Write a pipeline's sources into its folder, so that a diffusers without this repository loads it.

diffusers downloads one file for the pipeline and one file for each component, and runs each of them alone. Here families
share code by ordinary imports. So saving writes *standalone* files: the source of a module, with the sources of the
modules that it imports from its own package or from `pipelines` written into it.

Relative imports in a saved file are no way out: diffusers keeps the helper files of all local folders in one package,
and a second checkpoint would run the helpers of the first.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType


def write_sources(pipeline, folder: str | Path) -> None:
    """Write the standalone sources of a saved pipeline and of its components, and name them in model_index.json.

    The pipeline's file goes beside model_index.json, each custom component's file into its own subfolder. The index names
    them in the list form that `DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` follows.

    Args:
        pipeline: a `DiffusionPipeline` that was just saved.
        folder: where it was saved.
    """
    folder = Path(folder)
    index = json.loads((folder / pipeline.config_name).read_text())
    for name, component in pipeline.components.items():
        package = type(component).__module__.partition(".")[0]
        if component is not None and package not in ("diffusers", "transformers"):
            (folder / name).mkdir(exist_ok=True)
            index[name] = write_module(type(component), folder / name)
    index["_class_name"] = write_module(type(pipeline), folder)
    index.pop("_name_or_path", None)
    write_index(pipeline, folder, index)


def write_index(pipeline, folder: str | Path, index: dict) -> None:
    """Write model_index.json."""
    (Path(folder) / pipeline.config_name).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def write_module(class_: type, folder: Path) -> list[str]:
    """Write the standalone source of a class's module into a folder; return [file stem, class name]."""
    stem = class_.__module__.rpartition(".")[2]
    (folder / f"{stem}.py").write_text(standalone(sys.modules[class_.__module__]))
    return [stem, class_.__name__]


def standalone(module: ModuleType) -> str:
    """Return the source of a module with the sources of the sibling modules that it imports written into it.

    A sibling is a module of the same top-level package, or of the package of this file. Imports of other packages come
    first, then the siblings, each after those that it imports itself, then the module. The source of a module without
    siblings is returned as it is. So a pipeline that was loaded from a saved folder is saved with the identical source.

    Raises:
        ValueError: a sibling is imported in a way that cannot be written out, or two modules define the same name.
    """
    packages = {module.__name__.partition(".")[0], __name__.partition(".")[0]}
    imports: dict[str, None] = {}  # statements in the order of their first use
    bodies: dict[str, str] = {}  # by module name, each after those it needs

    def add(current: ModuleType) -> None:
        source = inspect.getsource(current)
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
            sibling = _sibling(node, current, packages)
            if sibling is None:
                imports.update(dict.fromkeys(_statements(node)))
            elif sibling.__name__ not in bodies and sibling is not module:
                add(sibling)
        bodies[current.__name__] = "\n".join(lines).strip("\n")

    add(module)
    if len(bodies) == 1:
        return inspect.getsource(module)
    own = bodies.pop(module.__name__)
    head = inspect.getdoc(module)
    if head is not None:  # the module's own docstring opens the file
        tree = ast.parse(own).body[0]
        lines = own.splitlines()
        docstring, own = "\n".join(lines[: tree.end_lineno]), "\n".join(lines[tree.end_lineno :]).strip("\n")
        parts = [docstring]
    else:
        parts = []
    future = "from __future__ import annotations"
    parts += [future] * (future in imports)
    parts.append("\n".join(sorted(statement for statement in imports if statement != future)))
    parts += [f"# ---- {name} ----\n\n{body}" for name, body in bodies.items()]
    parts.append(f"# ---- {module.__name__} ----\n\n{own}")
    source = "\n\n\n".join(parts) + "\n"
    _check_names(source, module.__name__)
    return source


def _sibling(node: ast.Import | ast.ImportFrom, module: ModuleType, packages: set[str]) -> ModuleType | None:
    """Return the module that an import statement takes names from, if its source has to be written out."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names if alias.name.partition(".")[0] in packages]
        if found:
            raise ValueError(
                f"{module.__name__}, line {node.lineno}: write `from {found[0]} import NAME` to be exported."
            )
        return None
    name = node.module or ""
    if node.level:  # relative: against the package that the module is in
        parts = module.__name__.split(".")[: -node.level]
        name = ".".join([*parts, name] if name else parts)
    if name.partition(".")[0] not in packages:
        return None
    sibling = sys.modules[name]
    renamed = [
        alias.name for alias in node.names if alias.asname or alias.name == "*" or not hasattr(sibling, alias.name)
    ]
    if renamed or any(isinstance(getattr(sibling, alias.name), ModuleType) for alias in node.names):
        raise ValueError(f"{module.__name__}, line {node.lineno}: import plain names from {name}, to be exported.")
    return sibling


def _statements(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return one import statement for each name, so that two modules' imports of one package become one set."""
    return [ast.unparse(type(node)(**{**vars(node), "names": [alias]})) for alias in node.names]


def _check_names(source: str, where: str) -> None:
    """Raise ValueError if a file defines a top-level name twice: one of two siblings would run the other's code."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(
            f"{where}: these names would stand twice in its exported file; rename one: {', '.join(twice)}."
        )
