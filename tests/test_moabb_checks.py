"""MOABB's own checks of datasets, which it ships in ``moabb.tests``, run on the datasets of this package.

Nothing of them is written again here: their lists of datasets are replaced by ours, their functions are
called. Two checks can only hold inside MOABB and are left out: the rows in its summary files
(``test_completeness_summary_table``), and its file of resolved DOIs (``test_doi_cache_complete``).
"""

import sys
import types

import meg_files
import mne
import pytest
from things_files import write_things

from braindecode_ssr.moabb import Gifford2022, Hebart2023, SimulatedThings, register

OURS = [Gifford2022, Hebart2023, SimulatedThings]
every = pytest.mark.parametrize("dataset", OURS, ids=lambda cls: cls.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:.*Concatenation of Annotations.*")


@pytest.fixture(scope="module")
def checks(request):
    """MOABB's test modules; what importing them changes elsewhere is put back."""
    for marker in ("download", "network"):
        request.config.addinivalue_line("markers", f"{marker}: of MOABB's own tests")
    level = mne.set_log_level(return_old_level=True)
    script = types.ModuleType("scripts.generate_macro_table")  # of its documentation, not installed
    script._format_cell = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "scripts", types.ModuleType("scripts"))
        patch.setitem(sys.modules, script.__name__, script)
        from moabb.tests import (
            test_datasets,
            test_doi_validation,
            test_download,
            test_metadata,
            test_plotting,
        )
    mne.set_log_level(level)
    return types.SimpleNamespace(
        datasets=test_datasets,
        doi=test_doi_validation,
        download=test_download,
        metadata=test_metadata,
        plotting=test_plotting,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with data sets of one subject each, where MOABB looks for them."""
    folder = tmp_path_factory.mktemp("mne_data")
    write_things(folder / "things-eeg", subjects=(1,), sessions=4)
    table = meg_files.attributes(sessions=12)
    meg_files.write_subject(folder / "things-meg", made=meg_files.epochs(table))
    return folder


@pytest.fixture
def here(data, monkeypatch):
    monkeypatch.delenv("SSR_DATA")
    monkeypatch.setenv("MNE_DATA", str(data))


@pytest.fixture
def only_ours(checks, monkeypatch):
    monkeypatch.setattr(checks.datasets, "dataset_list", OURS)


@pytest.fixture
def registered(monkeypatch):
    """MOABB with our datasets in it, and without them afterwards."""
    import moabb.datasets
    import moabb.paradigms
    from moabb.datasets import metadata, utils

    for cls in OURS:
        monkeypatch.setattr(moabb.datasets, cls.__name__, None, raising=False)
    monkeypatch.setattr(moabb.paradigms, "ImageRetrieval", None, raising=False)
    register()
    yield moabb.datasets
    monkeypatch.undo()
    utils._init_dataset()
    metadata.DATASET_METADATA_CATALOG._catalog = None


def test_the_paradigm_is_found_by_name_as_benchmark_does(registered):
    from moabb.benchmark import _get_paradigm_instance

    from braindecode_ssr.moabb import ImageRetrieval

    assert isinstance(_get_paradigm_instance("ImageRetrieval"), ImageRetrieval)


def test_moabb_makes_them_without_a_warning(checks, only_ours, caplog):
    checks.datasets.Test_Datasets().test_datasets_init(caplog)


def test_moabb_finds_a_summary_in_their_docs(checks, only_ours):
    checks.datasets.Test_Datasets().test_dataset_docstring_table()
    for cls in OURS:
        assert "**#Chan**" in cls.__doc__ and ".. admonition:: Participants" in cls.__doc__


def test_moabb_can_choose_their_subjects(checks, only_ours):
    filtering = checks.datasets.TestSubjectSessionFiltering()
    filtering.test_all_datasets_accept_subjects_param()
    filtering.test_subject_filtering(Gifford2022, {"subjects": [1, 5, 9]}, 3, 10)
    filtering.test_subject_filtering(Hebart2023, {"subjects": [4, 2]}, 2, 4)
    for cls in OURS:
        filtering.test_invalid_subjects_raises(cls, {"subjects": [0, 100]})


def test_moabb_finds_a_nemar_id(checks):
    """THINGS-MEG and the simulation have none; MOABB knows such datasets by a list of exceptions."""
    checks.datasets.Test_Datasets().test_all_datasets_have_valid_nemar_id(Gifford2022)
    checks.datasets.Test_Datasets().test_nemar_id_class_attributes(Gifford2022, "nm000232")
    assert Hebart2023.nemar_id is None and SimulatedThings.nemar_id is None


def test_data_path_honors_its_flags(checks, monkeypatch):
    """MOABB reads the source of a folder of datasets: it is given that of this package."""
    import moabb.datasets

    import braindecode_ssr.moabb.datasets as ours

    monkeypatch.setattr(moabb.datasets, "__file__", ours.__file__)
    checks.datasets.Test_Datasets().test_data_path_uses_download_flags()


@every
def test_moabb_loads_them(checks, here, dataset):
    checks.download.test_dataset_download(True, dataset)


@pytest.mark.parametrize("dataset", OURS[:2])
def test_moabb_can_move_its_folder(checks, dataset, tmp_path, monkeypatch):
    monkeypatch.delenv("SSR_DATA")
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path))
    monkeypatch.delenv("MNE_DATA", raising=False)
    checks.download.test_download_dir_change_is_respected(dataset, tmp_path, monkeypatch, None)


@every
def test_moabb_validates_their_metadata(dataset):
    from moabb.datasets.metadata.schema import validate_metadata_against_dataset

    made = dataset()
    assert validate_metadata_against_dataset(made, made.metadata) == []
    part = dataset(subjects=[1])
    assert validate_metadata_against_dataset(part, part.metadata) == []


@every
@pytest.mark.parametrize(
    "check",
    [
        "test_doi_format",
        "test_docstring_dois_tracked",
        "test_data_url_format",
        "test_senior_author_in_paper",
        "test_investigators_match_doi_authors",
        "test_primary_paper_matches_dataset_code",
    ],
)
def test_moabb_validates_their_papers(checks, monkeypatch, dataset, check):
    """MOABB keeps the authors of papers that it looked up; here those printed on the two papers."""
    if dataset is SimulatedThings and check != "test_docstring_dois_tracked":
        assert dataset().doi is None
        return
    papers = {
        "10.1016/j.neuroimage.2022.119754": [
            "Alessandro T. Gifford",
            "Kshitij Dwivedi",
            "Gemma Roig",
            "Radoslaw M. Cichy",
        ],
        "10.7554/eLife.82580": [
            "Martin N Hebart",
            "Oliver Contier",
            "Lina Teichmann",
            "Adam H Rockter",
            "Charles Y Zheng",
            "Alexis Kidder",
            "Anna Corriveau",
            "Maryam Vaziri-Pashkam",
            "Chris I Baker",
        ],
    }
    if dataset is not SimulatedThings:
        known = {doi: {"title": "", "authors": names} for doi, names in papers.items()}
        monkeypatch.setattr(checks.doi, "_DOI_CACHE", known)
        getattr(checks.doi, check)(dataset)


def test_moabb_reads_their_parameters(checks):
    for cls in OURS:
        checks.plotting.test_get_dataset_parameters(cls)


def test_moabb_draws_them(checks):
    from moabb.analysis.plotting import dataset_bubble_plot

    figure, axis = checks.plotting.plt.subplots()
    dataset_bubble_plot(Gifford2022(), ax=axis, legend=False)
    assert len(axis.collections[0].get_paths()) == 10
    checks.plotting.plt.close(figure)


class TestRegistered:
    """Once they are registered, they are datasets of MOABB."""

    def test_by_name(self, registered):
        from moabb.datasets.utils import dataset_dict, dataset_search

        assert registered.Gifford2022 is Gifford2022 is dataset_dict["Gifford2022"]
        found = dataset_search("imagery", events=["train", "test"], has_all_events=True)
        assert {type(one) for one in found} == set(OURS)
        assert [type(one) for one in dataset_search(events=["test"], min_subjects=5)] == [
            Gifford2022,
            SimulatedThings,
        ]

    def test_by_channel(self, registered, here):
        from moabb.datasets.utils import dataset_search

        found = dataset_search(events=["train"], channels=["Oz", "PO8"])
        assert [type(one) for one in found] == [Gifford2022, SimulatedThings]

    def test_moabbs_lists(self, checks, registered, monkeypatch):
        from moabb.datasets.utils import dataset_list

        monkeypatch.setattr(checks.datasets, "dataset_list", dataset_list)
        checks.datasets.Test_Datasets().test_dataset_list()

    def test_moabbs_catalogue(self, checks, registered, monkeypatch):
        metadata = checks.metadata
        catalogue = {cls.__name__: metadata.get_dataset_metadata(cls.__name__) for cls in OURS}
        assert catalogue["Hebart2023"].participants.n_subjects == 4
        monkeypatch.setattr(metadata, "DATASET_METADATA_CATALOG", catalogue)
        monkeypatch.setattr(metadata, "_init_dataset", lambda: None)
        monkeypatch.setattr(metadata, "dataset_dict", {cls.__name__: cls for cls in OURS})
        inside = next(
            cls
            for cls in vars(metadata).values()
            if hasattr(cls, "test_class_level_metadata_core_fields_match_dataset")
        )()
        inside.test_all_datasets_have_required_fields()
        inside.test_detected_paradigm_matches_experiment()
        inside.test_class_level_metadata_core_fields_match_dataset()
        inside.test_metadata_type_consistency()

    def test_braindecode_finds_them(self, registered):
        from braindecode.datasets import MOABBDataset

        found = MOABBDataset("SimulatedThings", [1], dataset_kwargs={"sessions": [0]})
        assert found.description["run"].tolist() == ["0train", "1test"]
        assert set(found.datasets[1].raw.annotations.description) == {"test"}
