"""What every test stands on: no network, no touching of the user's data, the same examples each time."""

import gc
import os
import socket
import sys
from concurrent.futures import Executor, Future
from hashlib import sha256

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


class Kept(dict):
    """What was last computed of ``things-sim``: many tests begin with the same recordings and features."""

    used = True

    def get(self, key, compute, most=32):
        if not self.used:
            return compute()
        if key not in self:
            self[key] = compute()
        found = self[key]
        while len(self) > most:
            self.pop(next(iter(self)), None)
        return found


RECORDINGS, CEILINGS, FEATURES = Kept(), Kept(), Kept()  # a recording has 5 MB


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Tests of the simulation and of image features themselves get nothing that was made before."""
    Kept.used = not {"simulation", "images", "test_things_sim.py"} & set(item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def _simulated_once():
    from braindecode_ssr.datasets import things_sim
    from braindecode_ssr.images.pyramid import Pyramid

    simulate, compute, encode = (
        things_sim.ThingsSim.session,
        things_sim.cached_numbers,
        Pyramid._encode,
    )

    def session(self, *which):
        if not self.preset.name.startswith("tiny"):
            return simulate(self, *which)
        key = self.source_key(), *which
        data, events = RECORDINGS.get(key, lambda: simulate(self, *which))
        return data.copy(), events

    def ceiling(path, numbers):  # whose name says what they depend on
        return compute(path, lambda: CEILINGS.get(path.name, numbers, 1000))

    def encoded(self, images):
        key = sha256(images.contiguous().numpy()).digest(), images.shape
        return FEATURES.get(key, lambda: encode(self, images), 1000).clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(things_sim.ThingsSim, "session", session)
        patch.setattr(things_sim, "cached_numbers", ceiling)
        patch.setattr(Pyramid, "_encode", encoded)
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
