"""What other packages do when they are imported that this app does without. Half of the time of a start went there.

`mend()` is called when `genarium` is imported. It changes how two packages are imported from then on:

    gradio       writes a .pyi file for editors beside the definition of each component, 80 in a start; no longer.
                 It imports its command line, which is then imported when `gradio.deploy` is called, and pandas, which is
                 imported when a cached function is given a table. Signatures of constructors are looked up once each
    diffusers    imports torch's compiler, scipy.stats and scipy.integrate, which few of its functions use; they import them when called

What is imported already stays as it is. A version of a package that lacks what is changed here is left as it is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

Mend = Callable[[Callable[[], None], ModuleType], None]  # executes a module, by the function that it is given

COMPILER = "torch._dynamo"
# Held by who imports torch, diffusers or pipelines while the app runs. Two threads that import parts of one package at once
# can each wait for a module of the other, and Python then hands out one that is half imported.
HEAVY = threading.RLock()
STATISTICS = "scipy.stats"
INTEGRALS = "scipy.integrate"
COMMANDS = "gradio.cli"
TABLES = "pandas"


def mend() -> None:
    """Install what changes the two packages as they are imported. A second call changes nothing."""
    if not any(isinstance(finder, _Mender) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Mender())


class _Mender(importlib.abc.MetaPathFinder):
    """Finds modules of the two packages where the other finders find them, and has them executed as they should be."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        execute: Mend
        if fullname == "gradio":
            execute = _without_commands
        elif fullname == "gradio.caching":
            execute = _without_tables
        elif fullname in ("gradio.component_meta", "gradio.blocks"):
            execute = _quickly
        elif fullname.startswith("diffusers."):
            execute = _without_extras
        else:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find is not None and finder is not self else None
            if spec is not None and spec.loader is not None:
                usual = spec.loader.exec_module
                cast(Any, spec.loader).exec_module = functools.partial(_executed, execute, usual)
                return spec
        return None


def _executed(execute: Mend, usual: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(functools.partial(usual, module), module)


def _without_commands(execute: Callable[[], None], module: ModuleType) -> None:
    if COMMANDS in sys.modules:
        execute()
        return
    stand_in = ModuleType(COMMANDS)

    def deploy(*arguments: Any, **options: Any) -> Any:
        return importlib.import_module(COMMANDS).deploy(*arguments, **options)

    cast(Any, stand_in).deploy = deploy  # all that the package takes from there
    sys.modules[COMMANDS] = stand_in
    try:
        execute()
    finally:
        if sys.modules.get(COMMANDS) is stand_in:
            del sys.modules[COMMANDS]
            if vars(module).get("cli") is stand_in:
                del cast(Any, module).cli


def _without_tables(execute: Callable[[], None], module: ModuleType) -> None:
    with _deferred(TABLES):
        execute()


def _quickly(execute: Callable[[], None], module: ModuleType) -> None:
    execute()
    if hasattr(module, "create_or_modify_pyi"):
        cast(Any, module).create_or_modify_pyi = lambda *_: None
    if getattr(module, "inspect", None) is inspect:
        cast(Any, module).inspect = _Inspect("inspect")


class _Inspect(ModuleType):
    """Stands for `inspect` in a module that asks for the signatures of the same constructors again and again."""

    def __init__(self, name: str):
        super().__init__(name)
        self._known: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        return getattr(inspect, name)

    def signature(self, function: Any) -> Any:
        return self._remembered("signature", function)

    def getfullargspec(self, function: Any) -> Any:
        return self._remembered("getfullargspec", function)

    def _remembered(self, what: str, function: Any) -> Any:
        if not inspect.isfunction(function):
            return getattr(inspect, what)(function)
        known = self._known.setdefault(function, {})
        if what not in known:
            known[what] = getattr(inspect, what)(function)
        return known[what]


def _without_extras(execute: Callable[[], None], module: ModuleType) -> None:
    with _deferred(STATISTICS), _deferred(INTEGRALS), _marks_deferred():
        if module.__name__ != "diffusers.utils.torch_utils" or COMPILER in sys.modules:
            execute()
            return
        sys.modules[COMPILER] = cast(Any, None)  # an import of it raises ImportError, for which diffusers provides
        try:
            execute()
        finally:
            del sys.modules[COMPILER]
        is_compiled = getattr(module, "is_compiled_module", None)
        if is_compiled is not None:  # nothing can be while the compiler is not imported
            cast(Any, module).is_compiled_module = lambda network: COMPILER in sys.modules and is_compiled(network)


class _Deferred(ModuleType):
    """Stands for a module that is imported when something of it is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # asked of every module, by `inspect` for one
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _deferred(name: str) -> Iterator[None]:
    """Let `import package.module` find a stand-in for a submodule of a package that imports it upon its first use itself."""
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _Deferred(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


@contextlib.contextmanager
def _marks_deferred() -> Iterator[None]:
    """Let the decorator `torch.compiler.disable` import the compiler when what it decorates is called and compiled."""
    compiler: Any = getattr(sys.modules.get("torch"), "compiler", None)
    usual = getattr(compiler, "disable", None)
    if usual is None or COMPILER in sys.modules or hasattr(usual, "deferred"):
        yield
        return

    def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
        if fn is None:
            return lambda fn: disable(fn, recursive, **options)
        marked = functools.cache(lambda: usual(fn, recursive, **options))

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (marked() if COMPILER in sys.modules else fn)(*args, **kwargs)

        return call

    cast(Any, disable).deferred = True
    compiler.disable = disable
    try:
        yield
    finally:
        compiler.disable = usual
