"""Names of backbones: ours, those of braindecode, measured ones, dotted paths and what may be imported."""

from __future__ import annotations

import csv
import importlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..registry import unknown_name
from . import BACKBONES

if TYPE_CHECKING:
    from torch import nn

KNOWN = ("braindecode", "braindecode_ssr", "torch.nn")
"""Packages whose modules (``nn.Module``) any configuration may name."""


VERSION = "braindecode_version"


HUB = {
    *("model_id", "revision", "cache_dir", "force_download", "local_files_only", "token"),
    *("map_location", "strict", "filename", VERSION),
}
"""What loading from the hub passes on beside the parameters of a model."""


Trust = bool | str | tuple[str, ...]
"""Whether all paths are trusted; or those that are."""


_trusted: ContextVar[frozenset[str] | None] = ContextVar("trusted", default=frozenset())
"""Paths that may be imported whatever they name; None: all of them."""


@contextmanager
def trusting(trust: Trust = True) -> Iterator[None]:
    """Import whatever dotted paths name while this is entered; False changes nothing.

    Parameters
    ----------
    trust : bool, str or tuple of str
        All paths, or these only: what a user typed is trusted, what a file names is not.

    Examples
    --------
    >>> from braindecode_ssr.models import SSR
    >>> with trusting():  # doctest: +SKIP
    ...     model = SSR(backbone="my_package.MyNet", n_chans=17, n_times=250, n_outputs=512)
    """
    before = _trusted.get()
    names = (trust,) if isinstance(trust, str) else trust or ()
    everything = trust is True or before is None
    token = _trusted.set(None if everything else before | set(map(as_dotted, names)))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted() -> Trust:
    """What is trusted here, to be passed on to another process."""
    paths = _trusted.get()
    return True if paths is None else tuple(sorted(paths))


def is_path(name: Any) -> bool:
    """Whether a text looks like ``package.module.Class`` or ``package.module:Class``."""
    return isinstance(name, str) and ("." in name or ":" in name)


def check_path(kind: str, path: str) -> None:
    """Refuse a path that may not be imported, without importing anything.

    Raises
    ------
    UsageError
        If it is not a dotted path, or neither trusted nor of a known package or entry point.
    """
    dotted = as_dotted(path)
    if not all(part.isidentifier() for part in dotted.split(".")) or "." not in dotted:
        raise UsageError(
            f"{path!r} cannot be the dotted path of {kind}",
            "write it as package.module.Class, or choose a registered name",
        )
    if not (_is_trusted(dotted) or _within(dotted, KNOWN) or _points(dotted)):
        raise _untrusted(kind, path)


def class_at(kind: str, path: str) -> type:
    """The class that a dotted path names.

    Parameters
    ----------
    kind : str
        What it is to be, for messages: ``"a backbone"``.
    path : str
        ``"package.module.Class"`` or ``"package.module:Class"``.

    Returns
    -------
    type
        A subclass of ``torch.nn.Module`` from braindecode, ``torch.nn``, this package or an installed entry
        point; any class where the path is trusted, see :func:`trusting`.

    Raises
    ------
    UsageError
        If it cannot be imported, or is something else.
    """
    from torch import nn

    check_path(kind, path)
    dotted = as_dotted(path)
    if _is_trusted(dotted) or _within(dotted, KNOWN):
        found = _imported(kind, dotted)
    else:
        found = _provided(dotted)
    if not isinstance(found, type):
        if _is_trusted(dotted):
            raise UsageError(f"{path!r} is no class", f"name the class of {kind}")
        raise _untrusted(kind, path)
    if not _is_trusted(dotted):
        home = _within(found.__module__, KNOWN) or _points(dotted)
        if not (issubclass(found, nn.Module) and home):
            raise _untrusted(kind, path)
    return found


def types_of(cls: type, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a model with dotted paths replaced by the classes they name.

    Only parameters whose default is a class are looked at; all others stay as they are.
    """
    accepted = inspect.signature(cls).parameters
    return {
        name: class_at(f"{name} of {cls.__name__}", value)
        if is_path(value)
        and name in accepted
        and isinstance(accepted[name].default, type)
        and accepted[name].default is not inspect.Parameter.empty
        else value
        for name, value in params.items()
    }


class Configured:
    """Mixin for our braindecode models: their configurations name known classes only.

    braindecode's own loading imports whatever a ``config.json`` names.
    """

    @classmethod
    def from_config(cls, config: dict[str, Any], *, trust: Trust = False) -> Any:
        """A model of a configuration, as :meth:`get_config` gives it, without weights.

        Parameters
        ----------
        config : dict
        trust : bool or str
            Import whatever classes it names, not only those of braindecode, ``torch.nn``, this package and
            installed entry points.
        """
        params = {name: value for name, value in config.items() if name != VERSION}
        with trusting(trust):
            return cls(**_configured(cls, params))

    @classmethod
    def from_pretrained(cls, *args: Any, trust: Trust = False, **kwargs: Any) -> Any:
        """A model with its weights, from a folder or the Hugging Face hub; ``trust`` as in from_config."""
        with trusting(trust):
            return super().from_pretrained(*args, **kwargs)

    @classmethod
    def _from_pretrained(cls, **kwargs: Any) -> Any:
        params = {name: value for name, value in kwargs.items() if name not in HUB}
        others = {name: value for name, value in kwargs.items() if name in HUB}
        return super()._from_pretrained(**others, **_configured(cls, params))


def _configured(cls: type, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with classes in the place of their paths; braindecode finds none left to import."""
    accepted = inspect.signature(cls).parameters
    for name, value in params.items():
        known = name in accepted
        if not known or (is_path(value) and accepted[name].default is inspect.Parameter.empty):
            raise UsageError(
                f"a configuration of {cls.__name__} sets {name} = {str(value)[:80]!r}, which it cannot",
                f"remove {name} from the configuration",
            )
    return types_of(cls, params)


def as_dotted(path: str) -> str:
    """The path with dots alone: ``package.module.Class``."""
    return path.replace(":", ".", 1)


def _within(path: str, packages: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)


def _is_trusted(dotted: str) -> bool:
    paths = _trusted.get()
    return paths is None or dotted in paths


def _points(dotted: str) -> list[Any]:
    """Entry points of ours that may provide a class: they name it, or are of the same package."""
    package, found = dotted.partition(".")[0], entry_points()
    groups = sorted(group for group in found.groups if group.startswith("braindecode_ssr."))
    points = [point for group in groups for point in found.select(group=group)]
    return [point for point in points if point.module.partition(".")[0] == package]


def _provided(dotted: str) -> Any:
    """What an installed entry point gives under this path, or None."""
    for point in _points(dotted):
        found = point.load()
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        if dotted in (as_dotted(point.value), home):
            return found
    return None


def _imported(kind: str, dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a module that is trusted may raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"{dotted!r} cannot be imported as {kind} ({type(error).__name__}: {reason})",
            "install the package it is in, mend it, or choose a registered name",
        ) from error


def _untrusted(kind: str, path: str) -> UsageError:
    return UsageError(
        f"{path[:200]!r} is named as {kind}, and is no nn.Module of braindecode, torch.nn, "
        "braindecode_ssr or an installed entry point; it was not called",
        "if you trust whoever wrote that name, which can run any code, add --trust (in Python: trust=True); "
        "in your own code give the class itself",
    )


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence what MNE warns of, and at times logs to stdout, when braindecode is imported.

    Some of braindecode's modules ask for ``standard_1020`` and ``standard_1005`` by names that
    MNE 1.13 calls deprecated; users of a model can do nothing about it.
    """
    logger = logging.getLogger("mne")
    logger.addFilter(_is_other)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Montage name", FutureWarning)
            yield
    finally:
        logger.removeFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Montage name")


_MODEL_AROUND_BACKBONES = "SSR"


def list_backbones() -> list[str]:
    """Names that :func:`build_backbone` takes: ours first, then braindecode's."""
    own = BACKBONES.names()
    foreign = sorted(set(_braindecode_models()) - set(own) - {_MODEL_AROUND_BACKBONES})
    return [*own, *foreign]


def _braindecode_models() -> dict[str, type[nn.Module]]:
    """All of braindecode's models by name, the interpolated ones included."""
    with quiet_import():
        from braindecode.models.util import interpolated_models_dict, models_dict

    return {**models_dict, **interpolated_models_dict}


def named_model(name: str) -> str:
    """The name of a braindecode model as braindecode writes it.

    Raises
    ------
    UsageError
        If there is no such model.
    """
    known = {_plain(model): model for model in _braindecode_models()}
    if _plain(name) in known and _plain(name) != _plain(_MODEL_AROUND_BACKBONES):
        return known[_plain(name)]
    raise unknown_name("backbone", name, list_backbones())


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


TABLE = Path(__file__).with_name("backbone_table.csv")


SHAPES = ((17, 250), (63, 250), (271, 201))


def shape_name(n_chans: int, n_times: int) -> str:
    """How a shape is called in the table: ``"17x250"``."""
    return f"{n_chans}x{n_times}"


COLUMNS = (
    "name",
    "origin",
    *(shape_name(*shape) for shape in SHAPES),
    "feature_point",
    "width",
    "parameters",
    "step_ms",
    "needs",
    "adjusted",
    "reason",
)


_WHOLE = ("width", "parameters", "step_ms")


@cache
def backbone_rows() -> tuple[dict[str, str | int | None], ...]:
    """The rows of ``backbone_table.csv``, ours first.

    Returns
    -------
    tuple of dict
        ``name``; ``origin``; ``17x250``, ``63x250``, ``271x201``: ``"yes"`` or ``"no"``; ``feature_point``
        (``"embedding"`` or ``"head"``), ``width``, ``parameters`` of the encoder and ``step_ms``
        (milliseconds of one step with 8 trials on one processor core), all at the first shape that works;
        ``needs``; ``adjusted`` parameters; ``reason`` why not.
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_typed(row) for row in csv.DictReader(file))


def backbone_name(name: str) -> str:
    """A backbone's name as it is registered, so that ``eegnet`` and ``EEGNet`` are one run.

    Ours and those of the table are known without an import; for others braindecode is asked. ``"auto"``,
    ``"linear"`` (of closed forms) and dotted paths stay as they are.

    Raises
    ------
    UsageError
        If there is no such backbone.
    """
    plain = _plain(name)
    if is_path(name):
        return as_dotted(name)
    if plain in ("auto", "linear"):
        return plain
    if name in BACKBONES:
        return BACKBONES.name_of(name)
    for row in backbone_rows():
        if _plain(str(row["name"])) == plain:
            return str(row["name"])
    return named_model(name)


def _typed(row: dict[str, str]) -> dict[str, str | int | None]:
    return {**row, **{key: int(float(row[key])) if row[key] else None for key in _WHOLE}}
