"""Own importers, connectors, models, recommenders and message channels: what installed packages bring in by name.

A package names what it brings in its entry points, as the packaging specification has them:

```toml
[project.entry-points."journeylab.recommenders"]
acme = "acme_journeys:Recommender"
```

Nothing of a package is imported before somebody asks for that name. Who installs a package into this environment lets
its code run with all rights of the process that asks for it. What each kind is made of is in docs/extending.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, get_args

from .errors import DataError, known, listed

__all__ = ["GROUPS", "Extension", "Group", "found", "load", "made"]

Group = Literal["importers", "event_importers", "connectors", "models", "recommenders", "channels"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""The kinds of extensions; the entry points of `importers` are in the group `journeylab.importers`, and so on."""

_ONE: Final[dict[Group, str]] = {
    "importers": "importer", "event_importers": "event importer", "connectors": "connector", "models": "model",
    "recommenders": "recommender", "channels": "message channel",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extension:
    """What a package brings, not imported yet.

    Attributes:
        group: which kind.
        name: by which it is asked for.
        packages: the distributions that bring it, each with its version; more than one is a fault.
        value: where it is, as `module:object`; that of the first package.
        fault: why it cannot be had, whatever is in it; None where it can be tried.
    """

    group: Group
    name: str
    packages: tuple[str, ...]
    value: str
    fault: str | None
    _point: EntryPoint = field(repr=False, compare=False)

    def load(self, methods: Sequence[str] = ()) -> Any:
        """The object that the package names, imported now.

        Args:
            methods: the methods that it must have.

        Raises:
            DataError: when its name is taken, or importing it fails, or a method is missing; names the package.
        """
        what = f"the {_ONE[self.group]} {self.name!r} of {self.packages[0]}"
        if self.fault is not None:
            raise DataError(self.fault)
        try:
            loaded = self._point.load()
        except (Exception, SystemExit) as problem:
            raise DataError(
                f"{what} cannot be loaded: {self.value} raised {type(problem).__name__}: {problem}; mend that package, "
                "or uninstall it"
            ) from problem
        missing = [name for name in methods if not callable(getattr(loaded, name, None))]
        if missing:
            raise DataError(
                f"{what} is {self.value}, which has no {' and no '.join(missing)}; see docs/extending.md for what a "
                f"{_ONE[self.group]} must have"
            )
        return loaded


def found(group: Group, built_in: Collection[str] = ()) -> Mapping[str, Extension]:
    """What installed packages bring of one kind, by name; nothing is imported.

    A name that is built in already, or that two packages bring, is among them with its `fault`: which of them would be
    meant must not depend on what was installed last.

    Args:
        group: which kind, one of `GROUPS`.
        built_in: the names of this kind that need no package.

    >>> found("channels")
    {}
    """
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"journeylab.{group}"):
        points.setdefault(point.name, []).append(point)
    return {name: _extension(group, name, some, built_in) for name, some in sorted(points.items())}


def _extension(group: Group, name: str, points: Sequence[EntryPoint], built_in: Collection[str]) -> Extension:
    brought = sorted({(_package(point), point.value) for point in points})
    packages = tuple(dict.fromkeys(package for package, _ in brought))
    what = f"the {_ONE[group]} {name!r}"
    fault = None
    if name in built_in:
        fault = f"{what} is built in, and {listed(packages)} brings another of that name; it must be renamed there"
    elif len(brought) > 1:
        fault = (
            f"{what} is there more than once, as {listed(f'{value} of {package}' for package, value in brought)}; "
            "uninstall all but one, or have one renamed"
        )
    return Extension(group, name, packages, brought[0][1], fault, points[0])


def _package(point: EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def load(group: Group, name: str, built_in: Collection[str] = (), methods: Sequence[str] = ()) -> Any:
    """The object that an installed package brings under a name, imported now.

    Args:
        group: which kind, one of `GROUPS`.
        name: the entry point's name.
        built_in: the names of this kind that need no package; the caller has looked there first.
        methods: the methods that it must have.

    Raises:
        DataError: when no package brings it, naming what there is; when its name is taken twice; when importing it
            fails or it has not those methods, naming the package.

    >>> load("channels", "sms")
    Traceback (most recent call last):
    ...
    journeylab.errors.DataError: no installed package brings the message channel 'sms'; There are no message channels.
    """
    brought = found(group, built_in)
    if name not in brought:
        raise DataError(
            f"no installed package brings the {_ONE[group]} {name!r}; "
            f"{known(name, {*built_in, *brought}, f'{_ONE[group]}s')}"
        )
    return brought[name].load(methods)


def made(group: Group, name: str, built_in: Collection[str] = (), methods: Sequence[str] = ()) -> Any:
    """What `load` gives; of a class an instance, made without arguments.

    Raises:
        DataError: as `load`, and when the class cannot be made, naming the package.
    """
    loaded = load(group, name, built_in, methods)
    if not isinstance(loaded, type):
        return loaded
    try:
        return loaded()
    except Exception as problem:
        package = found(group, built_in)[name].packages[0]
        raise DataError(
            f"the {_ONE[group]} {name!r} of {package} cannot be made: {loaded.__name__}() raised "
            f"{type(problem).__name__}: {problem}; mend that package, or uninstall it"
        ) from problem
