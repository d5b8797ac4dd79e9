"""braindecode learns of SSR, in any order, and at no cost until then.

What the finder does is tried on two small packages that stand for braindecode and for our model;
forked processes that import both anew, and a fresh interpreter, show that it does so with the real ones.
"""

import importlib
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from forked import started

from braindecode_ssr.models import names as registration

ROOT = Path(__file__).parents[1]

HOST = {
    "fakehost/__init__.py": "",
    "fakehost/models/__init__.py": "from .base import Mixin\nfrom .util import models_dict\n"
    "models_dict['Native'] = Mixin\n",
    "fakehost/models/base.py": "class Mixin: ...\n",
    "fakehost/models/util.py": "models_dict = {}\n"
    "models_mandatory_parameters = [('Native', ['n_chans'], None)]\n",
}
GUEST = {
    "fakeguest/__init__.py": "",
    "fakeguest/ssr.py": "from fakehost.models.base import Mixin\nclass SSR(Mixin):\n"
    "    def __init__(self, n_chans: int | None = None): ...\n",
    "fakeguest/other.py": "from fakehost.models.base import Mixin\n",
}


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages that stand for braindecode and for us; everything is undone afterwards."""
    write(tmp_path, {**HOST, **GUEST})
    monkeypatch.setattr(registration, "_BRAINDECODE", "fakehost.models")
    monkeypatch.setattr(registration, "_SSR", "fakeguest.ssr")
    others = [finder for finder in sys.meta_path if not isinstance(finder, registration._Finder)]
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield tmp_path
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("fakehost", "fakeguest")
    ]:
        del sys.modules[name]


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def finders():
    return [finder for finder in sys.meta_path if isinstance(finder, registration._Finder)]


def assert_registered():
    util = sys.modules["fakehost.models.util"]
    assert util.models_dict["SSR"] is sys.modules["fakeguest.ssr"].SSR
    assert set(util.models_dict) == {"Native", "SSR"}
    assert util.models_mandatory_parameters[1:] == [
        ("SSR", ["n_chans", "n_outputs", "n_times"], None)
    ]
    assert not finders()


@pytest.mark.parametrize(
    "order",
    [
        ["register", "fakehost.models"],
        ["register", "fakehost.models.util"],
        ["fakehost.models", "register"],
        ["register", "fakeguest.ssr"],
        ["register", "fakeguest.other"],
        ["fakeguest.ssr", "register"],
        ["register", "register", "fakehost.models", "register", "fakeguest.ssr"],
    ],
    ids=" ".join,
)
def test_in_any_order(packages, order):
    for step in order:
        registration.register() if step == "register" else importlib.import_module(step)
        assert len(finders()) <= 1
    assert_registered()


def test_nothing_is_imported_before_the_host_is(packages):
    registration.register()
    assert not {"fakehost", "fakeguest", "fakeguest.ssr"} & set(sys.modules)
    importlib.import_module("fakeguest")
    assert len(finders()) == 1


def test_reloading_keeps_it_and_the_loader_is_the_usual_one(packages):
    registration.register()
    models = importlib.import_module("fakehost.models")
    assert type(models.__spec__.loader) is importlib.machinery.SourceFileLoader
    assert "models_dict['Native']" in models.__spec__.loader.get_source("fakehost.models")
    importlib.reload(models)
    assert_registered()
    importlib.reload(sys.modules["fakehost.models.util"])
    registration.register()
    assert "SSR" in sys.modules["fakehost.models.util"].models_dict


@pytest.mark.parametrize(
    "broken", ["raise OSError('no good')", "class SSR:\n    def __init__(self, x: 'Missing'): ..."]
)
def test_a_failure_of_ours_is_a_warning(packages, broken):
    write(packages, {"fakeguest/ssr.py": broken})
    registration.register()
    with pytest.warns(UserWarning, match="cannot register SSR: .*(no good|Missing)"):
        util = importlib.import_module("fakehost.models.util")
    assert util.models_dict["Native"] is sys.modules["fakehost.models"].Mixin
    assert len(util.models_mandatory_parameters) == 1


def test_a_failing_host_fails_as_without_us_and_may_recover(packages):
    write(packages, {"fakehost/models/__init__.py": "raise OSError('broken')"})
    registration.register()
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            importlib.import_module("fakehost.models")
    write(packages, {"fakehost/models/__init__.py": HOST["fakehost/models/__init__.py"] + "#\n"})
    importlib.invalidate_caches()
    importlib.import_module("fakehost.models")
    assert_registered()


def test_a_missing_host(packages):
    shutil.rmtree(packages / "fakehost" / "models")
    registration.register()
    with pytest.raises(ModuleNotFoundError, match="No module named 'fakehost.models'"):
        importlib.import_module("fakehost.models")
    assert importlib.import_module("fakehost") and len(finders()) == 1


def test_a_model_of_that_name_in_the_host_stays(packages):
    util = importlib.import_module("fakehost.models.util")
    util.models_dict["SSR"] = dict
    registration.register()
    assert util.models_dict["SSR"] is dict
    assert len(util.models_mandatory_parameters) == 1


def passes(code):
    """Run code in a fresh interpreter in which warnings of ours are errors."""
    head = "import sys, warnings\nwarnings.filterwarnings('error', 'braindecode_ssr')\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    passes(
        """
        import sys
        import braindecode_ssr
        heavy = {"torch", "braindecode", "mne", "numpy", "pandas", "skorch", "sklearn", "pydantic"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        assert "SSR" in dir(braindecode_ssr) and braindecode_ssr.__version__
        assert set(braindecode_ssr.__all__) <= set(dir(braindecode_ssr))
        try:
            braindecode_ssr.nothing
        except AttributeError as error:
            assert "nothing" in str(error)
        else:
            raise SystemExit("no AttributeError")
        """
    )


CHECK = """
from braindecode import EEGRegressor
import braindecode.models.config as config
import numpy as np
from pydantic import TypeAdapter
net = EEGRegressor("SSR", module__n_outputs=4, module__width=8, module__n_features=3,
                   max_epochs=1, train_split=None, batch_size=2, verbose=0)
net.fit(np.random.randn(4, 3, 20).astype("float32"), np.random.randn(4, 4).astype("float32"))
from braindecode_ssr import SSR
assert type(net.module_) is SSR
spec = {"model_name_": "SSR", "n_outputs": 4, "n_chans": 3, "n_times": 20, "width": 8}
union = TypeAdapter(config.BraindecodeModelConfig)
made = union.validate_python(spec)
assert type(made) is config.SSRConfig and type(made.create_instance()) is SSR
spec = {"model_name_": "EEGNet", "n_outputs": 4, "n_chans": 3, "n_times": 200}
assert type(union.validate_python(spec)) is config.EEGNetConfig
assert config.__all__.count("SSRConfig") == 1
"""


ORDERS = {
    "before": "import braindecode_ssr",
    "after": "import braindecode.models.config\nimport braindecode_ssr",
    "through-a-backbone": "from braindecode_ssr.models import EEGProject",
}


def in_this_order(first):
    """In a forked process, forget braindecode and us, and import both anew."""
    ours = {"braindecode", "braindecode_ssr"}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if type(finder).__module__.partition(".")[0] not in ours
    ]
    warnings.filterwarnings("error", "braindecode_ssr")
    exec(first + CHECK, {})
    print("checked")


@pytest.mark.parametrize("order", ORDERS)
def test_the_real_braindecode(order, tmp_path):
    process = started(in_this_order, ORDERS[order], folder=tmp_path)
    process.join()
    assert process.out.read_text() == "checked\n", process.err.read_text()


@pytest.mark.slow
def test_the_real_braindecode_in_a_fresh_interpreter():
    passes(ORDERS["before"] + CHECK)
