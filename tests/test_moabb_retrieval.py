"""Image retrieval in MOABB: labels, scores, evaluations, and splits that no concept or subject crosses."""

import meg_files
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moabb.evaluations.splitters import CrossSubjectSplitter, WithinSubjectSplitter
from moabb.paradigms import P300, LeftRightImagery, MotorImagery
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline

from braindecode_ssr.errors import DataError, LeakageError, UsageError
from braindecode_ssr.moabb import (
    FeatureRegression,
    Gifford2022,
    Hebart2023,
    ImageRetrieval,
    LeaveConceptsOut,
    LeaveSubjectOutZeroShot,
    PublishedSplit,
    SimulatedThings,
    of_test_runs,
)
from braindecode_ssr.moabb.paradigm import RetrievalScore, concepts_of, image_ranks

OCCIPITAL = ["O1", "Oz", "O2", "PO7", "PO8", "POz"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return SimulatedThings(subjects=[1, 2], sessions=[0, 1], root=tmp_path_factory.mktemp("sim"))


@pytest.fixture(scope="module")
def features(dataset):
    """What the simulated eye gets of each image."""
    own = dataset.source()
    seen = np.concatenate([own.features(split) for split in ("train", "test")])
    return pd.DataFrame(seen, index=own.images["image_id"])


@pytest.fixture(scope="module")
def paradigm():
    return ImageRetrieval(channels=OCCIPITAL, resample=100, baseline=(-0.1, 0))


@pytest.fixture(scope="module")
def loaded(dataset, paradigm):
    return paradigm.get_data(dataset, additional_metadata="all")


class TestParadigm:
    """Of ImageRetrieval."""

    def test_labels_are_images(self, loaded, dataset):
        x, images, table = loaded
        assert x.shape == (2 * 432, len(OCCIPITAL), 100)
        assert images.tolist() == table["image_id"].tolist()
        assert set(images) <= set(dataset.source().images["image_id"])
        assert not set(concepts_of(images[of_test_runs(table)])) & set(
            concepts_of(images[~of_test_runs(table)])
        )

    def test_epochs_and_arrays_are_the_same(self, dataset, paradigm, loaded):
        x, images, _ = paradigm.get_data(dataset, subjects=[1])
        epochs, same, _ = paradigm.get_data(dataset, subjects=[1], return_epochs=True)
        assert same.tolist() == images.tolist() == loaded[1][:432].tolist()
        assert np.allclose(x, 1e6 * epochs.get_data(copy=False), atol=1e-9)

    def test_which_datasets_it_takes(self, paradigm):
        from moabb.datasets.fake import FakeDataset

        assert all(
            paradigm.is_valid(one) for one in (*paradigm.datasets, Gifford2022(), Hebart2023())
        )
        assert not paradigm.is_valid(FakeDataset())

    def test_moabbs_own_paradigms(self, dataset):
        """An imagery paradigm with named events loads a split; one of two hands or of targets refuses."""
        x, labels, _ = MotorImagery(n_classes=1, events=["test"], fmin=1, fmax=40).get_data(
            dataset, subjects=[2]
        )
        assert x.shape[1:] == (63, 250) and set(labels) == {"test"} and len(x) == 2 * 98
        assert not LeftRightImagery().is_valid(dataset) and not P300().is_valid(dataset)

    def test_another_image_list_is_refused(self, dataset, paradigm):
        events = paradigm._get_events_pipeline(dataset)
        raw = dataset.get_data(subjects=[1])[1]["0"]["1test"]
        raw.annotations.extras[3]["image_id"] = "cat/cat_1"
        with pytest.raises(DataError, match="'cat/cat_1'.*cache"):
            events.transform(raw)


class TestScore:
    """Of RetrievalScore, against ranks counted by hand."""

    class Fixed(BaseEstimator):
        """Predicts what it is given, in a gallery of the axes."""

        def fit(self, X, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict(self, X):
            return X

        def gallery(self, image_ids):
            return np.eye(3)[["abc".index(name[0]) for name in image_ids]]

    def test_ranks_by_hand(self):
        x = np.array([[3.0, 2, 1], [1, 3, 2], [1, 1, 0], [1, 0, 3]])
        y = ["a/a_1", "c/c_1", "b/b_1", "c/c_1"]
        # a: first. b: as near as a, which counts against it. c: the mean (1, 1.5, 2.5) is nearest to c
        assert image_ranks(self.Fixed(), x, y).tolist() == [1, 2, 1]
        assert RetrievalScore(1)(self.Fixed(), x, y) == pytest.approx(2 / 3)
        assert RetrievalScore(2)(make_pipeline(self.Fixed()), x, y) == 1.0

    def test_images_without_features(self, features, loaded):
        x, images, _ = loaded
        model = FeatureRegression(features.drop(index=images[7]))
        with pytest.raises(DataError, match=f"'{images[7]}'"):
            model.fit(x[:50], images[:50])

    def test_regression_is_ridge_on_centred_samples(self, features, loaded):
        x, images, _ = loaded
        x, images = x[:60], images[:60]
        model = FeatureRegression(features, Ridge(alpha=10.0)).fit(x, images)
        rows = x.reshape(60, -1)
        rows, targets = (rows - rows.mean(0)) / rows.std(0), features.loc[images].to_numpy(float)
        targets = targets - targets.mean(0)
        # ridge in its dual form
        expected = rows @ rows.T @ np.linalg.solve(rows @ rows.T + 10 * np.eye(60), targets)
        assert np.allclose(model.predict(x), expected, atol=1e-6 * np.abs(expected).max())
        assert np.allclose(model.gallery(images), targets)


class TestEvaluations:
    """MOABB's evaluations, run."""

    def scores(self, protocol, dataset, paradigm, features, folder):
        made = paradigm.evaluation(protocol, [dataset], hdf5_path=str(folder), overwrite=True)
        return made.process({"ridge": FeatureRegression(features, Ridge(alpha=3e3))})

    @pytest.mark.slow
    def test_within_subjects(self, dataset, paradigm, features, tmp_path):
        table = self.scores("intra", dataset, paradigm, features, tmp_path)
        assert sorted(zip(table["subject"], table["session"], strict=True)) == [
            (subject, session) for subject in "12" for session in "01"
        ]
        assert (table["n_classes"] == 16).all() and (table["samples_test"] == 98).all()
        assert table["score_top1"].mean() > 3 / 16 and table["score_top5"].mean() > 8 / 16

    def test_across_subjects(self, dataset, paradigm, features, tmp_path):
        table = self.scores("inter", dataset, paradigm, features, tmp_path)
        assert len(table) == 4
        assert (table["samples"] == 2 * 118).all()  # training trials of the one other subject
        assert table["score_top1"].between(0, 1).all() and table["score_top1"].nunique() > 1

    @pytest.mark.slow
    def test_meg(self, tmp_path, tmp_path_factory):
        root = tmp_path_factory.mktemp("meg")
        for subject in (1, 2):
            table = meg_files.attributes(sessions=12, seed=subject)
            data = meg_files.signals(len(table), seed=subject)
            meg_files.write_subject(root, subject, meg_files.epochs(table, data))
        dataset = Hebart2023(subjects=[1, 2], root=root)
        names = dataset.source().images["image_id"]
        features = pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 4)), index=names)
        table = self.scores("inter", dataset, ImageRetrieval(), features, tmp_path)
        assert len(table) == 24 and (table["n_classes"] == 2).all()
        assert (table["channels"] == len(meg_files.SENSORS)).all()
        assert table["score_top1"].isin([0, 0.5, 1]).all()


def experiment(n_subjects, n_concepts, n_tested, seed):
    """MOABB's metadata and image of each trial, in random order."""
    rng = np.random.default_rng(seed)
    rows = [
        (subject, str(session), "1test" if c < n_tested else "0train", f"c{c}/c{c}_{k}")
        for subject in range(1, n_subjects + 1)
        for session in range(2)
        for c in range(n_concepts)
        for k in range(1 if c < n_tested else 2)
    ]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    return pd.DataFrame(rows, columns=["subject", "session", "run", "image_id"])


sizes = st.tuples(st.integers(2, 4), st.integers(6, 9), st.integers(1, 3), st.integers(0, 99))


class TestSplits:
    """Whole concepts, whole subjects."""

    @given(sizes, st.integers(2, 3), st.booleans())
    def test_no_concept_crosses_a_fold(self, size, n_splits, shuffle):
        table = experiment(*size)
        images, tested = table["image_id"], []
        for train, test in LeaveConceptsOut(n_splits, shuffle=shuffle).split(table, images):
            assert not set(concepts_of(images[train])) & set(concepts_of(images[test]))
            assert len(train) + len(test) == len(table)
            tested += test.tolist()
        assert sorted(tested) == list(range(len(table)))

    @given(sizes)
    def test_no_subject_and_no_concept_crosses(self, size):
        table = experiment(*size)
        images, subjects = table["image_id"].to_numpy(), table["subject"].to_numpy()
        splitter = LeaveSubjectOutZeroShot(of_test_runs(table))
        assert splitter.get_n_splits(groups=subjects) == size[0]
        for fold, (train, test) in enumerate(splitter.split(table, images, subjects), 1):
            assert set(subjects[test]) == {fold} and fold not in set(subjects[train])
            assert not set(concepts_of(images[train])) & set(concepts_of(images[test]))
            assert set(images[test]) == set(images[of_test_runs(table)])
            assert len(train) == (~of_test_runs(table) & (subjects != fold)).sum()

    def test_scikit_learns_split_leaks_where_ours_does_not(self):
        """Why there is one: a test fold by subject trains on the others' trials of the tested images."""
        table = experiment(3, 6, 2, 0)
        fold = np.where(of_test_runs(table) & (table["subject"] == 2), 0, -1)
        train, test = next(PredefinedSplit(fold).split())
        images = table["image_id"].to_numpy()
        assert set(images[test]) <= set(images[train])

    def test_through_moabbs_splitters(self):
        table = experiment(3, 6, 2, 1)
        images = table["image_id"].to_numpy()
        across = CrossSubjectSplitter(cv_class=LeaveSubjectOutZeroShot, is_test=of_test_runs)
        assert across.get_n_splits(table) == 3
        for train, test in across.split(images, table):
            assert table["run"][test].unique().tolist() == ["1test"]
            assert table["run"][train].unique().tolist() == ["0train"]
            assert not set(table["subject"][train]) & set(table["subject"][test])
        within = WithinSubjectSplitter(cv_class=PublishedSplit, shuffle=False, is_test=of_test_runs)
        assert within.get_n_splits(table) == 3
        for train, test in within.split(images, table):
            assert table["subject"][train].unique() == table["subject"][test].unique()
        folds = WithinSubjectSplitter(n_folds=2, cv_class=LeaveConceptsOut, random_state=0)
        for train, test in folds.split(images, table):
            assert not set(concepts_of(images[train])) & set(concepts_of(images[test]))

    def test_in_scikit_learn(self, features, loaded):
        x, images, table = loaded
        own = (table["subject"] == 1).to_numpy() & ~of_test_runs(table)
        scores = cross_val_score(
            FeatureRegression(features),
            x[own],
            images[own],
            cv=LeaveConceptsOut(3),
            scoring=RetrievalScore(5),
        )
        assert len(scores) == 3 and np.isfinite(scores).all()

    def test_a_concept_in_both_splits_is_refused(self):
        table = experiment(2, 6, 2, 0)
        table.loc[table["image_id"] == "c0/c0_0", "image_id"] = "c3/c3_9"
        for splitter in (PublishedSplit(), LeaveSubjectOutZeroShot()):
            with pytest.raises(LeakageError, match="'c3'"):
                list(splitter.split(table, table["image_id"], table["subject"]))

    @pytest.mark.parametrize(
        ("splitter", "arguments", "message"),
        [
            (PublishedSplit(), (np.zeros(8), ["a/a"] * 8), "is not metadata"),
            (PublishedSplit(np.ones(3)), (np.zeros(8), ["a/a"] * 8), "shape \\(3,\\)"),
            (LeaveConceptsOut(2), (np.zeros(8),), "y must name"),
            (LeaveConceptsOut(2), (np.zeros(8), ["left_hand"] * 8), "'left_hand'"),
            (LeaveSubjectOutZeroShot(), (np.zeros(8), ["a/a"] * 8), "no groups"),
            (
                LeaveSubjectOutZeroShot(),
                (np.zeros(8), ["a/a"] * 8, [1] * 8),
                "there is one subject",
            ),
        ],
    )
    def test_wrong_use(self, splitter, arguments, message):
        with pytest.raises(UsageError, match=message):
            list(splitter.split(*arguments))

    @pytest.mark.parametrize(
        ("is_test", "split"), [(np.ones(4), "training"), (np.zeros(4), "test")]
    )
    def test_an_empty_split(self, is_test, split):
        with pytest.raises(DataError, match=f"no {split} trials"):
            list(PublishedSplit(is_test).split(np.zeros(4), ["a/a", "b/b", "a/a", "b/b"]))
