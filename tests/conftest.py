"""What every test stands on: no network, no touching of the user's data, the same examples each time."""

import gc
import os
import socket
import sys
from concurrent.futures import Executor, Future

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: some tests compare runs to the bit
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("ssr", max_examples=30, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ssr")


@pytest.hookimpl(tryfirst=True)
def pytest_collection():
    """No garbage collection while tests are collected, nor later among what was imported for them."""
    gc.disable()


def pytest_collection_finish(session):
    """Processes of the tests are forked from here, and before a test has changed anything."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000)  # as ssr-bd does
    if "forked" in sys.modules:
        sys.modules["forked"].start_server()


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory):
    """Whatever a test forgets to place goes into a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSR_DATA", str(tmp_path_factory.mktemp("ssr-data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_fsync():
    """Nothing is forced to the disk: no power cut comes. What would be is held by test_power_cut.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture
def runs_here(monkeypatch):
    """The runs of a benchmark are done in this process: one of their own each takes seconds to start."""
    from contextlib import nullcontext

    from braindecode_ssr.benchmarking.workers import LocalWorkers

    here = nullcontext(Here())
    monkeypatch.setattr(LocalWorkers, "executor", lambda self, n_tasks: here)


@pytest.fixture
def coarse(monkeypatch):
    """Pictures of few dots, whose letters are no fonts of their own: quicker to draw."""
    from braindecode_ssr.reporting import run_figures

    for name, value in (("savefig.dpi", 30), ("pdf.fonttype", 3)):
        monkeypatch.setitem(run_figures.STYLE, name, value)


class Here(Executor):
    """Does what is submitted at once."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future


@pytest.fixture(scope="session")
def sim_dir(tmp_path_factory):
    """Data folder of ``things-sim``, whose trials and features are made once for all tests of all workers.

    For reading: a test that changes or counts what lies in a data folder takes its own.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "things-sim"
    folder.mkdir(exist_ok=True)
    return folder


class Recordings(dict):
    """The last recordings of ``things-sim``: many tests begin with the same ones."""

    kept = True

    def session(self, make, dataset, *which):
        key = dataset.source_key(), *which
        if not self.kept or not dataset.preset.name.startswith("tiny"):
            return make(dataset, *which)
        if key not in self:
            self[key] = make(dataset, *which)
        data, events = self[key]
        while len(self) > 64:  # 5 MB each
            self.pop(next(iter(self)), None)
        return data.copy(), events


RECORDINGS = Recordings()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Tests of the simulation itself get no recording that was made before."""
    RECORDINGS.kept = not {"simulation", "test_things_sim.py"} & set(item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def _recordings_once():
    from braindecode_ssr.datasets.things_sim import ThingsSim

    make = ThingsSim.session
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ThingsSim, "session", lambda self, *which: RECORDINGS.session(make, self, *which)
        )
        yield


@pytest.fixture(scope="module")
def few_people():
    """``things-sim`` has people 1, 2, 3 and 5 in place of ten: to make the trials of one takes seconds."""
    from braindecode_ssr.datasets.things_sim import ThingsSim

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThingsSim, "subjects", (1, 2, 3, 5))
        yield


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """A test that is not marked ``hub`` and opens a connection fails."""
    if request.node.get_closest_marker("hub"):
        return
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise OSError(f"a test opened a connection to {address}; mark it @pytest.mark.hub")

    monkeypatch.setattr(socket.socket, "connect", refuse)
