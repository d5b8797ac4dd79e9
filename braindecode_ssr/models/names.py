"""Names of backbones and image heads, and which of them may import code.

A backbone is named as one of ours, as one of braindecode's, by a dotted path ``package.module.Class``, or as
a class in a local file, ``my_net.py:MyNet``. Importing a class runs code, so paths and files are refused
unless they lead into a known package or are trusted, see :func:`trusting`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import inspect
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, first_line
from ..registry import plain_name, unknown_name
from . import BACKBONES

if TYPE_CHECKING:  # naming a backbone loads no torch
    from torch import nn

TABLE = Path(__file__).with_name("backbone_table.csv")
MEASURED_WITH = "1.8.1"
"""The braindecode whose models are in the table."""

SHAPES = ((17, 250), (63, 250), (271, 201))
"""Channels and samples of the trials that the table was measured with."""


def shape_name(n_chans: int, n_times: int) -> str:
    """The column of a shape in the table: ``"17x250"``."""
    return f"{n_chans}x{n_times}"


COLUMNS = (
    *("name", "origin", *(shape_name(*shape) for shape in SHAPES)),
    *("feature_point", "width", "parameters", "step_ms", "needs", "adjusted", "reason"),
)

Row = dict[str, str | int | None]


@cache
def backbone_rows() -> tuple[Row, ...]:
    """The rows of ``backbone_table.csv``, ours first.

    The columns of ``SHAPES`` are ``"yes"`` or ``"no"``, ``reason`` says why not; ``width``, ``parameters``
    and ``step_ms`` (8 trials on one core) are those of the first shape that works.
    """
    integers = ("width", "parameters", "step_ms")
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            {**row, **{key: int(float(row[key])) if row[key] else None for key in integers}}
            for row in csv.DictReader(file)
        )


def listed_backbones() -> list[Row]:
    """The table, then the backbones that were not measured: of other packages, or new in braindecode."""
    rows = [dict(row) for row in backbone_rows()]
    known = {row["name"] for row in rows}
    origins = {name: "another package" for name in BACKBONES if not BACKBONES.is_own(name)}
    if version("braindecode") != MEASURED_WITH:  # importing braindecode takes seconds
        models = _braindecode_models()
        origins |= dict.fromkeys(
            (name for name in list_backbones() if name in models), "braindecode"
        )
        rows = [row for row in rows if row["origin"] != "braindecode" or row["name"] in models]
    origins |= {name: "braindecode_ssr" for name in BACKBONES if BACKBONES.is_own(name)}
    blank: Row = dict.fromkeys(COLUMNS)
    return rows + [
        {**blank, "name": name, "origin": origin, "reason": "not measured"}
        for name, origin in origins.items()
        if name not in known
    ]


def list_backbones() -> list[str]:
    """Names that :func:`~braindecode_ssr.models.backbone.build_backbone` takes: ours, then braindecode's."""
    own = BACKBONES.names()
    return [*own, *sorted(set(_braindecode_models()) - {*own, "SSR"})]


def _braindecode_models() -> dict[str, type[nn.Module]]:
    with quiet_import():
        from braindecode.models.util import interpolated_models_dict, models_dict

    return {**models_dict, **interpolated_models_dict}


def backbone_name(name: str) -> str:
    """The registered form of a backbone's name, so that ``eegnet`` and ``EEGNet`` are one run.

    Our own names and measured ones are known without an import; for others braindecode is imported.
    """
    if is_path(name):
        return canonical_path(name)
    if plain_name(name) in ("auto", "linear"):
        return plain_name(name)
    if name in BACKBONES:
        return BACKBONES.name_of(name)
    measured = {plain_name(str(row["name"])): str(row["name"]) for row in backbone_rows()}
    return measured.get(plain_name(name)) or _braindecode_name(name)


def _braindecode_name(name: str) -> str:
    known = {plain_name(model): model for model in _braindecode_models() if model != "SSR"}
    if plain_name(name) in known:
        return known[plain_name(name)]
    raise unknown_name("backbone", name, list_backbones())


def named_backbone(name: str) -> Any:
    """The class behind a backbone's name; or the model, where :func:`providing` provides one."""
    if name in BACKBONES:
        return BACKBONES[name]
    if is_path(name):
        return class_at("a backbone", name)
    return _braindecode_models()[_braindecode_name(name)]


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence MNE 1.13's deprecation of montage names, which braindecode's modules ask for on import."""
    logger = logging.getLogger("mne")

    def unrelated(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Montage name")

    logger.addFilter(unrelated)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Montage name", FutureWarning)
            yield
    finally:
        logger.removeFilter(unrelated)


# Paths and files: what may be imported ------------------------------------------------------------

KNOWN = ("braindecode", "braindecode_ssr", "torch.nn")
"""Packages whose ``nn.Module`` classes any configuration may name."""

Trust = bool | str | tuple[str, ...]
"""Trust every path, none, or only these."""

_trusted: ContextVar[frozenset[str] | None] = ContextVar("trusted", default=frozenset())
"""Paths that may be imported from anywhere; None: all of them."""

_provided: ContextVar[dict[str, Any] | None] = ContextVar("provided", default=None)
"""Classes and models that were given as objects, by the name under which they are recorded."""


@contextmanager
def trusting(trust: Trust = True) -> Iterator[None]:
    """Within this context, import whatever trusted paths (True: all) and files name.

    Trust what a user typed, not what a file names.

    >>> from braindecode_ssr.models import SSR
    >>> with trusting():  # doctest: +SKIP
    ...     model = SSR(backbone="my_net.py:MyNet", n_chans=17, n_times=250, n_outputs=512)
    """
    before = _trusted.get()
    names = (trust,) if isinstance(trust, str) else () if isinstance(trust, bool) else trust
    everything = trust is True or before is None
    added = frozenset(canonical_path(name) if is_path(name) else name for name in names)
    token = _trusted.set(None if everything or before is None else before | added)
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted() -> Trust:
    """What is trusted here, in a form that can be passed on to another process."""
    paths = _trusted.get()
    return True if paths is None else tuple(sorted(paths))


@contextmanager
def providing(
    backbone: str | type[nn.Module] | nn.Module, recorded: str | None = None
) -> Iterator[str]:
    """Within this context, a name (which is yielded) stands for a backbone given as an object.

    By default it is ``module.Class``, for a model followed by ``@`` and a digest of its layers and
    weights, because two models of one class are two backbones.
    """
    if isinstance(backbone, str):
        with trusting(backbone):
            yield backbone_name(backbone)
        return
    cls = backbone if isinstance(backbone, type) else type(backbone)
    name = recorded or f"{cls.__module__}.{cls.__qualname__}"
    if not (recorded or isinstance(backbone, type)):
        name += f"@{_digest(backbone)}"
    token = _provided.set({**(_provided.get() or {}), name: backbone})
    try:
        yield name
    finally:
        _provided.reset(token)


def _digest(model: nn.Module) -> str:
    import torch

    digest = hashlib.sha256(repr(model).encode())
    for key, tensor in model.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def is_path(name: Any) -> bool:
    """Whether a text looks like ``package.module.Class``, ``package.module:Class`` or ``file.py:Class``."""
    return isinstance(name, str) and ("." in name or ":" in name)


def canonical_path(path: str) -> str:
    """The form of a path that is recorded: ``package.module.Class``, or ``/absolute/file.py:Class``."""
    file, cls = _file_and_class(path)
    return f"{file}:{cls}" if file else path.replace(":", ".", 1)


def _file_and_class(path: str) -> tuple[Path | None, str]:
    file, _, cls = path.rpartition(":")
    return (Path(file).expanduser().resolve() if file.endswith(".py") else None), cls


def check_path(kind: str, path: str) -> None:
    """Refuse a malformed or untrusted path, without importing anything."""
    name = canonical_path(path)
    file, cls = _file_and_class(name)
    parts = [cls] if file else name.split(".")
    if not all(part.isidentifier() for part in parts) or (file is None and len(parts) < 2):
        raise UsageError(
            f"{path[:200]!r} cannot be the path of {kind}",
            "write package.module.Class or my_file.py:Class, or choose a registered name; in Python, pass a "
            "class or model that was trained as an object again",
        )
    known = file is None and (_within(name, KNOWN) or _entry_points(name))
    if not (_is_trusted(name) or known):
        raise _untrusted(kind, path)


def class_at(kind: str, path: str) -> Any:
    """The class at ``"package.module.Class"``, ``"package.module:Class"`` or ``"my_file.py:Class"``.

    An ``nn.Module`` of a known package or an installed entry point; any class where the path is trusted.
    """
    from torch import nn

    provided = _provided.get() or {}
    if path in provided:
        return provided[path]
    check_path(kind, path)
    name = canonical_path(path)
    if _is_trusted(name):
        found = _imported(kind, name)
        if not isinstance(found, type):
            raise UsageError(f"{path!r} is not a class", f"name the class of {kind}")
        return found
    found = _imported(kind, name) if _within(name, KNOWN) else _from_entry_point(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        if _within(found.__module__, KNOWN) or _entry_points(name):
            return found
    raise _untrusted(kind, path)


def types_of(cls: type, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a model, with the classes that dotted paths name where the default is a class."""
    accepted = inspect.signature(cls).parameters

    found = dict(params)
    for name, value in params.items():
        default = accepted[name].default if name in accepted else None
        wants_class = isinstance(default, type) and default is not inspect.Parameter.empty
        if wants_class and is_path(value):
            found[name] = class_at(f"{name} of {cls.__name__}", value)
    return found


def _within(path: str, packages: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)


def _is_trusted(name: str) -> bool:
    paths = _trusted.get()
    return paths is None or name in paths


def _entry_points(dotted: str) -> list[Any]:
    """Our installed entry points in the package of a dotted path."""
    package, found = dotted.partition(".")[0], entry_points()
    groups = sorted(group for group in found.groups if group.startswith("braindecode_ssr."))
    points = [point for group in groups for point in found.select(group=group)]
    return [point for point in points if point.module.partition(".")[0] == package]


def _from_entry_point(dotted: str) -> Any:
    for point in _entry_points(dotted):
        found = point.load()
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        if dotted in (canonical_path(point.value), home):
            return found
    return None


def _imported(kind: str, name: str) -> Any:
    file, cls = _file_and_class(name)
    try:
        if file:
            return getattr(_module_of(file), cls)
        module, _, cls = name.rpartition(".")
        return getattr(importlib.import_module(module), cls)
    except (Exception, SystemExit) as error:  # a trusted module may raise anything
        raise UsageError(
            f"{name!r} cannot be imported as {kind} ({type(error).__name__}: {first_line(error)})",
            "correct the file or the name, install the package that it needs, or choose a registered name",
        ) from error


def _module_of(file: Path) -> ModuleType:
    """The module of a local file, executed once until the file changes."""
    source = file.read_bytes()
    name = f"_local_{file.stem}_{hashlib.sha256(bytes(file) + source).hexdigest()[:16]}"
    if name not in sys.modules:
        sys.modules[name] = module = ModuleType(name)
        module.__file__ = str(file)
        try:
            exec(compile(source, str(file), "exec"), module.__dict__)  # noqa: S102, a trusted file
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _untrusted(kind: str, path: str) -> UsageError:
    return UsageError(
        f"{path[:200]!r} is named as {kind} and is not an nn.Module of braindecode, torch.nn, "
        "braindecode_ssr or an installed entry point; it was not imported",
        "if you trust the author of that name, which can run any code, add --trust (in Python: trust=True); "
        "in your own code pass the class itself",
    )


# -- braindecode learns of SSR -------------------------------------------------------------------------------
#
# ``braindecode.models`` takes seconds to import, so nothing here imports it. If it is loaded, SSR is
# registered at once; else an import hook at the front of ``sys.meta_path`` does so right after it is loaded,
# and removes itself.

_BRAINDECODE = "braindecode.models"
_SSR = "braindecode_ssr.models.ssr"
_REQUIRED = ("n_chans", "n_outputs", "n_times")


def register() -> None:
    """Make ``EEGRegressor("SSR", ...)`` work, now or as soon as braindecode is imported; idempotent."""
    if _BRAINDECODE in sys.modules:
        _join()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds braindecode's models and SSR as the other finders do, and registers SSR once both are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in (_BRAINDECODE, _SSR):
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: Any) -> None:
        """Let this one loader register SSR after it has executed its module."""
        execute: Any = getattr(loader, "exec_module", None)

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if _BRAINDECODE in sys.modules:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _join()

        try:
            if execute is not None:
                loader.exec_module = exec_module
        except AttributeError as error:
            warnings.warn(f"braindecode_ssr cannot register SSR: {error}", stacklevel=2)


def _join() -> None:
    """Register SSR with the loaded braindecode; a failure is a warning, never an error."""
    try:
        ssr = sys.modules.get(_SSR) or importlib.import_module(_SSR)
        if hasattr(ssr, "SSR"):  # else it is being imported right now, and registers at its end
            _add(ssr.SSR)
    except Exception as error:
        warnings.warn(f"braindecode_ssr cannot register SSR: {error}", stacklevel=2)


def _add(model: type) -> None:
    """Add the model to braindecode's tables, unless braindecode has one of that name."""
    util = importlib.import_module(f"{_BRAINDECODE}.util")
    if util.models_dict.setdefault(model.__name__, model) is not model:
        return
    inspect.signature(model.__init__, eval_str=True)  # as braindecode.models.config will do
    listed = util.models_mandatory_parameters
    if all(name != model.__name__ for name, *_ in listed):
        listed.append((model.__name__, list(_REQUIRED), None))
        _add_config(model)


def _add_config(model: type) -> None:
    config: Any = sys.modules.get(f"{_BRAINDECODE}.config")
    if config is None or not hasattr(config, "BraindecodeModelConfig"):
        return
    from typing import Annotated, Union

    made = config.make_model_config(model, list(_REQUIRED))
    setattr(config, made.__name__, made)
    config.__all__.append(made.__name__)
    config.models_configs.append(made)
    field = config.BraindecodeModelConfig.__metadata__[0]
    config.BraindecodeModelConfig = Annotated[Union[tuple(config.models_configs)], field]  # noqa: UP007
