"""What a visitor asks of the Lab, and what the families offer there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genarium.errors import InputError, PluginError
from genarium.families import Families, Family, discover
from genarium.messages import listed, quoted
from genarium.tasks.controls import Control, function_controls
from genarium.tasks.lab.data import DATA_NAMES
from genarium.tasks.lab.plane import Plane
from genarium.tasks.lab.views import VIEWS, View

MOST_SETTINGS = 6
MOST_SPEED = 500
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class PlaneInfo:
    """A family that learns points of the plane, as the Lab's page shows it.

    Args:
        family: the family.
        plane: its class, derived from `Plane`.
        controls: the settings of a training, by name.
        views: what can be shown of it; the first shows the samples alone.
    """

    family: Family
    plane: type[Plane]
    controls: Mapping[str, Control]
    views: tuple[View, ...]

    @property
    def title(self) -> str:
        """The family's title."""
        return self.family.title

    def view(self, name: str) -> View:
        """Return a view by its name.

        Raises:
            InputError: the family has no such view.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise InputError(
            f"view: {self.title} has {', '.join(view.name for view in self.views)}; there is no {quoted(name)}."
        )


def plane_info(family: Family) -> PlaneInfo:
    """Return what the Lab shows of a family with a `plane`.

    Raises:
        PluginError: its class is none, or asks for too many settings.
    """
    plane = family.plane_class()
    if plane is None or not issubclass(plane, Plane):
        raise PluginError(f"family {family.name}: its plane must derive from genarium.tasks.lab.plane.Plane")
    try:
        controls = function_controls(plane.build, f"{plane.__name__}.build")
    except InputError as error:
        raise PluginError(f"family {family.name}: {error}") from error
    if len(controls) > MOST_SETTINGS:
        raise PluginError(f"family {family.name}: {plane.__name__}.build takes more than {MOST_SETTINGS} settings")
    return PlaneInfo(family, plane, controls, tuple(view for view in VIEWS if view.fits(plane)))


@functools.cache
def _found() -> Families:
    return discover()


def planes(families: Families | None = None) -> dict[str, PlaneInfo]:
    """Return the families that learn points of the plane, by name.

    A plane that cannot be used is left out, as a broken plugin is. `plane_info` says why.

    Args:
        families: where to look; by default those of this installation, which are looked for once.
    """
    found = {}
    for family in families or _found():
        if family.plane is None:
            continue
        try:
            found[family.name] = plane_info(family)
        except PluginError:
            continue
    return found


def views_of(family: str, families: Families | None = None) -> tuple[View, ...]:
    """Return the views of a family.

    Raises:
        InputError: the Lab has no such family.
    """
    return _info(family, families).views


def _info(name: str, families: Families | None) -> PlaneInfo:
    known = planes(families)
    if name not in known:
        raise InputError(f"family: the Lab has {', '.join(known)}; there is no {quoted(name)}.")
    return known[name]


@dataclass(frozen=True)
class Question:
    """What a visitor asks: which data, which family, with which settings, and what to show.

    Args:
        data: of DATA_NAMES.
        family: name of a family with a plane.
        settings: values of the family's controls; the others have their defaults.
        seed: of the data, of the weights, and of all draws: 0 ... 2^31 - 1.
        view: name of a view that the family has.
        options: values of the view's controls.
        speed: optimizer steps between two frames: 1 ... 500.
    """

    data: str = "moons"
    family: str = "flow-matching"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    view: str = "samples"
    options: Mapping[str, Any] = field(default_factory=dict)
    speed: int = 25

    def checked(self, families: Families | None = None) -> Question:
        """Return the question with every setting and option in place, in its own type.

        Raises:
            InputError: something that the Lab does not have, or a value out of range; the message says what it has.
        """
        if not isinstance(self.data, str) or self.data not in DATA_NAMES:
            raise InputError(f"data: choose one of {', '.join(DATA_NAMES)}, not {quoted(self.data)}.")
        if not isinstance(self.family, str):
            raise InputError(f"family: takes a name, not {quoted(self.family)}.")
        info = _info(self.family, families)
        view = info.view(self.view)
        return Question(
            self.data,
            self.family,
            _values("settings", self.settings, info.controls),
            _whole("seed", self.seed, 0, MAX_SEED),
            view.name,
            _values("options", self.options, view.controls),
            _whole("speed", self.speed, 1, MOST_SPEED),
        )

    def checked_view(self, info: PlaneInfo) -> Question:
        """Return the question with every option of its view in place, for a family that is known already.

        Raises:
            InputError: a view that the family does not have, or an option that the view does not have.
        """
        view = info.view(self.view)
        return replace(self, options=_values("options", self.options, view.controls))

    @classmethod
    def of(cls, given: Any, families: Families | None = None) -> Question:
        """Read a question that a stranger sent, and check it.

        Raises:
            InputError: no dictionary, a key that a question does not have, or as `checked` says.
        """
        if not isinstance(given, Mapping):
            raise InputError(f"A question is an object with keys such as data and family, not {quoted(given)}.")
        unknown = [str(key) for key in given if key not in cls.__dataclass_fields__]
        if unknown:
            raise InputError(f"A question has {', '.join(cls.__dataclass_fields__)}; there is no {listed(unknown)}.")
        return cls(**given).checked(families)

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary that `of` reads."""
        return {
            "data": self.data,
            "family": self.family,
            "settings": dict(self.settings),
            "seed": self.seed,
            "view": self.view,
            "options": dict(self.options),
            "speed": self.speed,
        }


def _values(what: str, given: Any, controls: Mapping[str, Control]) -> dict[str, Any]:
    """Return a value for each control, given or default.

    Raises:
        InputError: no mapping, a name that is no control, or a value that its control refuses.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{what}: takes names with values, not {quoted(given)}.")
    unknown = [str(name) for name in given if name not in controls]
    if unknown:
        has = ", ".join(controls) or "nothing to set"
        raise InputError(f"{what}: has {has}; there is no {listed(unknown)}.")
    return {name: control.check(given.get(name, control.default)) for name, control in controls.items()}


def _whole(name: str, value: Any, minimum: int, maximum: int) -> int:
    return Control(name, "integer", minimum, minimum=minimum, maximum=maximum).check(value)
