"""Import of feature arrays: joined by image number or by name, never by luck."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.imports import image_ids_of, import_listed, import_split
from braindecode_ssr.images.store import FeatureStore, mean_pair_cosine

from .conftest import DrawnDataset, image_table

DATA = Path(__file__).parents[1] / "data" / "things_eeg2"
CLIP = DATA / "clip_vitl14_test" / "clip_feature_maps_test.npy"


def rows(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def ids_of(dataset: DrawnDataset, split: str) -> list[str]:
    images = dataset.images
    return images[images["split"] == split].sort_values("number")["image_id"].tolist()


@pytest.mark.parametrize("shape", [(12, 5), (4, 3, 5), (1, 4, 3, 5)])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_all_published_forms(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, shape: tuple, kind: str
) -> None:
    array = rows(12).astype(kind)
    train = saved(tmp_path / "train.npy", array.reshape(shape))
    test = saved(tmp_path / "test.npy", rows(5, seed=1).reshape(*[1] * (len(shape) == 4), 5, 1, 5))
    done = import_split(dataset, store, "clip", "blur", train, test)
    assert (done.images, done.dim, done.others, done.left_out) == (17, 5, 0, 0)
    read = store.read("clip", "blur", ids_of(dataset, "train"))
    np.testing.assert_array_equal(read, array.astype(np.float32))
    read = store.read("clip", "blur", ids_of(dataset, "test"))
    np.testing.assert_array_equal(read, rows(5, seed=1))


def test_order_is_the_image_number_not_the_row(store: FeatureStore, tmp_path: Path) -> None:
    table = image_table(4, 3, 5).sample(frac=1, random_state=0)
    dataset = DrawnDataset(tmp_path, table)
    import_split(dataset, store, "clip", "original", saved(tmp_path / "a.npy", rows(12)))
    read = store.read("clip", "original", ["thing00/thing00_02b"])
    np.testing.assert_array_equal(read, rows(12)[1:2])


def test_splits_may_come_one_after_the_other(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path
) -> None:
    train, test = saved(tmp_path / "a.npy", rows(12)), saved(tmp_path / "b.npy", rows(5, seed=1))
    import_split(dataset, store, "clip", "original", train=train)
    import_split(dataset, store, "clip", "original", test=test)
    ids = ids_of(dataset, "test") + ids_of(dataset, "train")
    expected = np.concatenate([rows(5, seed=1), rows(12)])
    np.testing.assert_array_equal(store.read("clip", "original", ids), expected)
    with pytest.raises(DataError, match="features of another encoder"):
        import_split(dataset, store, "clip", "blur", saved(tmp_path / "c.npy", rows(12, 6)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((11, 5), "11 images"),
        ((5, 5), "another split"),
        ((3, 4, 5), "swapped"),
        ((12, 7, 5), "84 images"),
        ((2, 4, 3, 5), "2 draws"),
        ((1, 1, 4, 3, 5), "pool"),
    ],
)
def test_wrong_counts_say_both_numbers(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, shape: tuple, words: str
) -> None:
    array = rows(int(np.prod(shape)), 1).reshape(shape)
    with pytest.raises(DataError) as error:
        import_split(dataset, store, "clip", "original", saved(tmp_path / "a.npy", array))
    assert words in str(error.value) and "12 train images" in str(error.value)
    assert store.encoders() == []


def test_splits_of_two_encoders(dataset: DrawnDataset, store: FeatureStore, tmp_path: Path) -> None:
    train, test = saved(tmp_path / "a.npy", rows(12)), saved(tmp_path / "b.npy", rows(5, 6))
    with pytest.raises(DataError, match="5 numbers in .*a.npy and 6 numbers"):
        import_split(dataset, store, "clip", "original", train, test)
    with pytest.raises(UsageError, match="--train"):
        import_split(dataset, store, "clip", "original")


class Evil:
    """Calls a function when it is unpickled."""

    def __reduce__(self):
        return (open, ("evil-was-here", "w"))


def test_pickles_are_refused_and_not_executed(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.npy"
    np.save(bad, np.array([Evil()] * 12, dtype=object), allow_pickle=True)
    plain, torched = tmp_path / "plain.npy", tmp_path / "bad.pt"
    plain.write_bytes(pickle.dumps(Evil()))
    torch.save({"features": Evil()}, torched)
    for file in (bad, plain, torched):
        with pytest.raises(DataError) as error:
            import_split(dataset, store, "clip", "original", file)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "evil-was-here").exists()
    with pytest.raises(DataError, match="refused and not executed"):
        import_split(dataset, store, "clip", "original", bad)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>sign in</html>", "a web page"),
        (b"PK\x03\x04", "zip archive"),
        (b"\x93NUMPY\x01\x00", "cut short"),
    ],
)
def test_files_that_are_not_arrays(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError) as error:
        import_split(dataset, store, "clip", "original", tmp_path / "a.npy")
    assert words in str(error.value)
    with pytest.raises(MissingDataError, match="no such file"):
        import_split(dataset, store, "clip", "original", tmp_path / "b.npy")


def test_a_truncated_array(dataset: DrawnDataset, store: FeatureStore, tmp_path: Path) -> None:
    file = saved(tmp_path / "a.npy", rows(12))
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match="cut short"):
        import_split(dataset, store, "clip", "original", file)


@pytest.mark.parametrize("array", [np.arange(60).reshape(12, 5), np.ones(12), np.array(["a"] * 12)])
def test_arrays_that_are_not_features(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, array: np.ndarray
) -> None:
    with pytest.raises(DataError, match="floating-point"):
        import_split(dataset, store, "clip", "original", saved(tmp_path / "a.npy", array))


def test_other_containers(dataset: DrawnDataset, store: FeatureStore, tmp_path: Path) -> None:
    tensor = torch.from_numpy(rows(12))
    torch.save(tensor, tmp_path / "a.pt")
    torch.save({"img_features": tensor, "text_features": tensor[:3]}, tmp_path / "b.pt")
    save_file({"anything": rows(12)}, tmp_path / "c.safetensors")
    for file in ("a.pt", "b.pt", "c.safetensors"):
        import_split(dataset, store, file, "original", tmp_path / file)
        read = store.read(file, "original", ids_of(dataset, "train"))
        np.testing.assert_array_equal(read, rows(12))
    save_file({"one": rows(12), "two": rows(12)}, tmp_path / "d.safetensors")
    with pytest.raises(DataError, match="2: one, two"):
        import_split(dataset, store, "d", "original", tmp_path / "d.safetensors")


FORMS = {
    "image id": "{image_id}",
    "file": "{file}",
    "path": "/data/image_set/training_images/{file}",
    "windows path": "C:\\images\\{file}",
    "bare name": "{stem}",
    "bare file": "{stem}.jpg",
    "object_images": "object_images/{image_id}.jpg",
}


@pytest.mark.parametrize("form", FORMS)
def test_names_in_every_usual_form(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, form: str
) -> None:
    table = dataset.images.sample(frac=1, random_state=3)
    stems = table["image_id"].str.rpartition("/")[2]
    lines = [
        FORMS[form].format(image_id=i, file=f, stem=s)
        for i, f, s in zip(table["image_id"], table["file"], stems, strict=True)
    ]
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    array = saved(tmp_path / "a.npy", rows(17))
    done = import_listed(dataset, store, "clip", "original", array, names)
    assert (done.images, done.others, done.left_out) == (17, 0, 0)
    read = store.read("clip", "original", table["image_id"].tolist())
    np.testing.assert_array_equal(read, rows(17))
    made_by = store.manifest("clip", "original")["fingerprint"]
    names.write_text("\n".join(reversed(lines)))  # the same rows are of other images
    import_listed(dataset, store, "clip", "original", array, names)
    assert store.manifest("clip", "original")["fingerprint"] != made_by
    saved(array, rows(17)[::-1])
    import_listed(dataset, store, "clip", "original", array, names)
    assert store.manifest("clip", "original")["fingerprint"] == made_by


def test_other_images_of_the_concepts_are_kept(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(
        "thing00/thing00_01a\nthing04/thing04_07g.jpg\n00002_thing05/thing05_09s.jpg\nzoo/zoo_01b\n"
    )
    array = saved(tmp_path / "a.npy", rows(4))
    with pytest.raises(DataError, match="lacks 11 of the 12 train images.*'thing00/thing00_02b'"):
        import_listed(dataset, store, "clip", "original", array, names)
    assert store.encoders() == []
    lines, said = names.read_text().splitlines()[1:], []
    names.write_text("\n".join([*ids_of(dataset, "train"), *lines]))
    array = saved(tmp_path / "a.npy", np.concatenate([rows(11, seed=1), rows(4)]))
    done = import_listed(dataset, store, "clip", "original", array, names, said.append)
    assert (done.images, done.others, done.left_out) == (12, 2, 1)
    assert len(said) == 1 and "'zoo/zoo_01b'" in said[0]
    wanted = ["thing04/thing04_07g", "thing05/thing05_09s"]
    np.testing.assert_array_equal(store.read("clip", "original", wanted), rows(4)[1:3])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["thing00/thing00_01a"], "1 names"),
        (["thing00/thing00_01a", "thing99"], "'thing99', which is none"),
        (["zoo/a", "zoo/b"], "its first name is 'zoo/a'"),
        (["thing00/thing00_01a", "thing00_01a.jpg"], "2 times"),
    ],
)
def test_wrong_names(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, lines: list[str], words: str
) -> None:
    names, array = tmp_path / "names.txt", saved(tmp_path / "a.npy", rows(2))
    names.write_text("\n".join(lines))
    with pytest.raises(DataError) as error:
        import_listed(dataset, store, "clip", "original", array, names)
    assert words in str(error.value)
    assert store.encoders() == []


def test_a_name_that_fits_two_images(store: FeatureStore, tmp_path: Path) -> None:
    table = image_table(2, 1, 1)
    table["image_id"] = ["a/one", "b/one", "c/two"]
    table["file"] = ["a/one.jpg", "b/one.jpg", "c/two.jpg"]
    names, array = tmp_path / "names.txt", saved(tmp_path / "a.npy", rows(1))
    names.write_text("one.jpg")
    with pytest.raises(DataError, match="a/one or b/one"):
        import_listed(DrawnDataset(tmp_path, table), store, "clip", "original", array, names)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", None])
def test_lists_that_cannot_be_read(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, content: bytes | None
) -> None:
    names, array = tmp_path / "names.txt", saved(tmp_path / "a.npy", rows(2))
    if content is not None:
        names.write_bytes(content)
    with pytest.raises(DataError):
        import_listed(dataset, store, "clip", "original", array, names)


def real_test_images() -> pd.DataFrame:
    """The 200 test images of THINGS-EEG2, by their published names."""
    with (DATA / "test_200_images.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    concepts = [line["dir"].partition("_")[2] for line in lines]
    return pd.DataFrame(
        {
            "split": "test",
            "number": [int(line["idx"]) for line in lines],
            "image_id": [
                f"{concept}/{line['file'].removesuffix('.jpg')}"
                for concept, line in zip(concepts, lines, strict=True)
            ],
            "concept": concepts,
            "file": [f"{line['dir']}/{line['file']}" for line in lines],
        }
    )


def test_real_clip_features_of_the_test_images(store: FeatureStore, tmp_path: Path) -> None:
    dataset = DrawnDataset(tmp_path, real_test_images())
    done = import_split(dataset, store, "ViT-L-14/openai", "original", test=CLIP)
    assert (done.images, done.dim) == (200, 768)
    assert store.encoders() == ["open-clip:ViT-L-14/openai"]
    wok = store.read("ViT-L-14/openai", "original", ["wok/wok_12s"])
    np.testing.assert_array_equal(wok[0], np.load(CLIP)[199, 0])
    features = store.read("ViT-L-14/openai", "original", dataset.images["image_id"].tolist())
    assert mean_pair_cosine(features) == pytest.approx(0.544, abs=0.01)


@pytest.mark.parametrize("shape", [(4, 3, 5), (1, 4, 3, 5)])
def test_concept_by_concept_needs_an_order_by_concept(
    store: FeatureStore, tmp_path: Path, shape: tuple
) -> None:
    table = image_table(4, 3, 5)
    train = table["split"] == "train"
    table.loc[train, "number"] = [1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12]
    dataset = DrawnDataset(tmp_path, table)
    with pytest.raises(DataError, match=r"row 1 would hold thing00, thing01.*--images"):
        import_split(
            dataset, store, "c", "original", saved(tmp_path / "a.npy", rows(12).reshape(shape))
        )
    assert store.encoders() == []
    import_split(dataset, store, "c", "original", saved(tmp_path / "a.npy", rows(12)))


def write_named(path: Path, names: list[str], array: np.ndarray) -> Path:
    """Features with names in the container that the suffix, or the word before it, asks for."""
    kind = path.name.partition(".")[0]
    if path.suffix == ".npz":
        np.savez(
            path, **{kind: np.array(names), "features": array, "labels": np.arange(len(array))}
        )
    elif path.suffix == ".pt":
        torch.save({kind: names, "embeddings": torch.from_numpy(array)}, path)
    elif path.suffix == ".safetensors":
        save_file({"features": array}, path, {kind: json.dumps(names)})
    else:
        table = pd.DataFrame(array, columns=[f"f{i}" for i in range(array.shape[1])])
        table = table.assign(split="train", number=7, concept="c", **{kind: names})
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",")  # with the index of pandas
    return path


NAMED = ["image_ids.npz", "names.npz", "filenames.npz", "files.pt", "image_ids.safetensors"]


@pytest.mark.parametrize("file", [*NAMED, "image_id.csv", "file.csv", "name.tsv", "image.csv"])
def test_files_with_names_are_joined_by_them(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, file: str
) -> None:
    column = "image_id" if "id" in file else "file"
    images = dataset.images.set_index("split")
    given = {}
    for split, seed in (("train", 0), ("test", 1)):
        names = images.loc[split, column].str.replace(".jpg", ".JPG").tolist()
        array, order = rows(len(names), seed=seed), np.random.default_rng(2).permutation(len(names))
        (tmp_path / split).mkdir()
        path = tmp_path / split / file
        given[split] = write_named(path, [names[row] for row in order], array[order])
    import_split(dataset, store, "clip", "original", **given)
    for split, seed in (("train", 0), ("test", 1)):
        read = store.read("clip", "original", ids_of(dataset, split))
        np.testing.assert_allclose(read, rows(len(read), seed=seed), rtol=1e-6)


def test_one_file_with_the_names_of_both_splits(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path
) -> None:
    ids = dataset.images["image_id"].tolist()[::-1]
    file = write_named(tmp_path / "image_ids.npz", ids, rows(17))
    with pytest.raises(DataError, match="names 5 that are not train images.*--array"):
        import_split(dataset, store, "clip", "original", file)
    done = import_listed(dataset, store, "clip", "original", file)
    assert (done.images, done.left_out) == (17, 0)
    np.testing.assert_array_equal(store.read("clip", "original", ids), rows(17))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(ids[::-1]))
    with pytest.raises(DataError, match="row 1 of .*npz is 'thing08.*but 'thing00"):
        import_listed(dataset, store, "clip", "original", file, names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids: ids[:-1], "lacks 1 of 12: 'thing03/thing03_03c'"),
        (lambda ids: [*ids[:-1], "thing00/thing00_99x"], "not train images: 'thing00/thing00_99x'"),
        (lambda ids: [*ids, "zebra"], "not train images: 'zebra'"),
        (lambda ids: [*ids, "thing08/thing08_01a"], "not train images: 'thing08/thing08_01a'"),
        (lambda ids: [*ids, "thing00_01a.jpg"], "'thing00/thing00_01a' 2 times"),
        (lambda ids: [*ids, ""], "not train images: ''"),
        (lambda ids: [str(number) for number in range(12)], "'0', '1', '2' and 9 more"),
    ],
)
@pytest.mark.parametrize("file", ["image_ids.npz", "image_id.csv"])
def test_names_that_are_not_those_of_the_split(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, change, words: str, file: str
) -> None:
    names = change(ids_of(dataset, "train"))
    path = write_named(tmp_path / file, names, rows(len(names)))
    with pytest.raises(DataError) as error:
        import_split(dataset, store, "clip", "original", path)
    assert words in str(error.value) and str(path) in str(error.value)
    assert store.encoders() == []


def test_names_and_rows_of_other_counts(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", features=rows(12), image_ids=ids_of(dataset, "train")[1:])
    with pytest.raises(DataError, match="11 names in 'image_ids', but 12 rows"):
        import_split(dataset, store, "clip", "original", tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", features=rows(12), image_ids=np.array([Evil()] * 12))
    with pytest.raises(DataError, match="refused and not executed.*dtype=str"):
        import_split(dataset, store, "clip", "original", tmp_path / "b.npz")


@pytest.mark.parametrize("extra", [{"label": range(12)}, {"word": ["a"] * 12}])
def test_columns_that_are_not_features(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, extra: dict
) -> None:
    table = pd.DataFrame(rows(12)).assign(image_id=ids_of(dataset, "train"), **extra)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=f"columns '{next(iter(extra))}' of .*a.csv"):
        import_split(dataset, store, "clip", "original", tmp_path / "a.csv")
    np.savetxt(tmp_path / "b.csv", rows(12), delimiter=",")
    with pytest.raises(DataError, match="b.csv has no column with the names"):
        import_split(dataset, store, "clip", "original", tmp_path / "b.csv")


def test_arrays_without_names_where_splits_are_equally_large(
    store: FeatureStore, tmp_path: Path
) -> None:
    dataset = DrawnDataset(tmp_path, image_table(4, 3, 12))
    file = saved(tmp_path / "a.npy", rows(12))
    for given in ({"train": file}, {"test": file}):
        with pytest.raises(DataError, match="both splits have 12 images.*--images"):
            import_split(dataset, store, "clip", "original", **given)
    assert store.encoders() == []
    import_split(
        dataset, store, "a", "original", saved(tmp_path / "b.npy", rows(12).reshape(4, 3, 5))
    )
    named = write_named(tmp_path / "names.npz", ids_of(dataset, "test"), rows(12))
    import_split(dataset, store, "b", "original", test=named)


def test_a_file_of_another_folder_is_another_image(tmp_path: Path) -> None:
    """``zoo/01`` is not ``dog/01``, though no other image is called 01."""
    ids = ["dog/01", "dog/02", "cat/03", "sets/ant/04"]
    images = pd.DataFrame({"image_id": ids, "concept": ["dog", "dog", "cat", "ant"]})
    images["file"] = images["image_id"] + ".png"
    found = image_ids_of(["zoo/01.png", "C:\\pictures\\cat\\03.PNG", "ant/04"], images, tmp_path)
    assert found == [None, "cat/03", "sets/ant/04"]
    flat = image_ids_of(
        [f"/flat/{name}.png" for name in ("01", "02", "03", "04")], images, tmp_path
    )
    assert flat == ids
