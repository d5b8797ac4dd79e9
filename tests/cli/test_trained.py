"""What a run is used for: a process that gets a run folder, a recording and a folder of images."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from braindecode_ssr.datasets.things_sim import ThingsSim


def write_images(sim, folder):
    rows = sim.images[sim.images["split"] == "test"]
    for file, image_id in zip(rows["file"], rows["image_id"], strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(sim.jpeg(image_id))
    return folder


def write_recordings(sim, folder, sessions):
    """Sessions that the dataset does not have, of the same subject: other days, other noise."""
    files = []
    for session in sessions:
        files.append(folder / f"ses-{session}_raw.fif")
        raw = sim.recording(5, session, "test").to_raw(sim.images)
        raw.save(files[-1], verbose="error")
    return files


def test_retrieve(shell, call, tiny_run, tmp_path):
    sim = ThingsSim(tmp_path, preset="tiny")
    images = write_images(sim, tmp_path / "pictures")
    [file] = write_recordings(sim, tmp_path, [5])
    page = tmp_path / "pages" / "page.html"
    args = ("retrieve", tiny_run[0], file, "--images", images, "--top", 3)
    done = shell(*args, "--html", page, code=0)
    assert "16 queries among 16 images: top-1" in done.out and "own 98 trials" in done.err
    text = page.read_text()
    assert text.count("<tr>") == 17 and text.count("<img") == 16 * 4 and "data:" not in text
    for source in set(re.findall(r'src="([^"]+)"', text)):
        assert (page.parent / source).is_file()
    found = call(*args, "--json", "--html", page, "--embed-images", code=0).json
    assert os.fspath(images) not in page.read_text() and "data:image/jpeg" in page.read_text()
    right = sum(query["rank"] == 1 for query in found["queries"])
    assert found["flags"] == ["transductive-whitening"] and "! transductive-whitening" in done.out
    assert found["top1"] == right / 16 and text.count('class="right"') == sum(
        query["rank"] <= 3 for query in found["queries"]
    )
    error = call("retrieve", tiny_run[0], file, "--images", tmp_path / "none", code=1).error
    assert str(tmp_path / "none") in error
    two = ("retrieve", tiny_run[0], file, file, "--images", images, "--events", page)
    assert "2 recordings were given, but events for 1" in call(*two, code=2).error


@pytest.mark.slow
def test_a_new_recording_of_the_same_subject_is_decoded_as_well_as_the_test(shell, tmp_path):
    """Four new sessions, so as many trials as in the test; five points below it may be chance.

    Measured: 56.5 to 59.0 % in six sets, 59.0 % in the test; docs/retrieve.rst.
    """
    out = shell("train", "--subject", 5, "--out", tmp_path / "runs", "--json", code=0).json
    sim = ThingsSim(tmp_path)
    files = write_recordings(sim, tmp_path, [9, 10, 11, 12])
    images = write_images(sim, tmp_path / "pictures")
    new = shell("retrieve", Path(out["run"]), *files, "--images", images, "--json", code=0).json
    assert new["n_queries"] == new["n_gallery"] == 200
    assert new["top1"] >= out["top1"] - 0.05


def test_push_to_a_folder_that_stands_for_the_hub(call, tiny_run, tmp_path):
    from braindecode_ssr import SSR, load_run
    from braindecode_ssr.runs import HUB_FILES

    done = call("push", tiny_run[0], "lab/net", "--to", tmp_path, "--json", code=0).json
    place = Path(done["place"])
    assert place == tmp_path / "lab" / "net"
    trained_encoder = {"image_encoder.safetensors"}  # only with images.tuning = lora
    assert {path.name for path in place.iterdir()} == set(HUB_FILES) - trained_encoder
    root = json.loads((tiny_run[0] / "run.json").read_text())["dataset"]["root"]
    for path in place.iterdir():
        assert root.encode() not in path.read_bytes(), path.name
    pushed, own = load_run(place), load_run(tiny_run[0])
    assert pushed.summary == own.summary and pushed.spec == own.spec
    for model in (pushed.model, SSR.from_pretrained(str(place))):
        for name, value in own.model.state_dict().items():
            assert torch.equal(model.state_dict()[name], value)
    card = (place / "README.md").read_text()
    assert f"{100 * own.summary['top1']:.1f} %" in card and "No flags." in card
    assert "intra" in card and "P7, P5" in card and "default: 16 queries among 16 images" in card


def test_what_is_not_pushed(call, tiny_run, tmp_path, monkeypatch):
    for name in ("net", "lab/../net", "a/b/c"):
        assert "ORG/NAME" in call("push", tiny_run[0], name, code=2).error

    def offline(self, *args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", offline)
    error = call("push", tiny_run[0], "lab/net", code=1).error
    assert "Name or service not known" in error and "--to FOLDER" in error
    (tmp_path / "summary.json").write_text("{}")
    assert "run.json" in call("push", tmp_path, "lab/net", "--to", tmp_path / "x", code=1).error
    assert not (tmp_path / "x" / "lab" / "net").exists()


def in_onnxruntime(file):
    session = pytest.importorskip("onnxruntime").InferenceSession(file)
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


LOADERS = {
    "torchscript": torch.jit.load,
    "torch-export": lambda file: torch.export.load(file).module(),
    "onnx": in_onnxruntime,
}


def compare_exported(call, path, folder, form):
    """What was written, loaded by its own library alone, for a batch of another size."""
    from braindecode_ssr import load_run

    done = call("export", path, "--format", form, "--out", folder, "--json", code=0).json
    assert done["difference"] <= 1e-4 and done["n_times"] == 250
    assert json.loads((folder / "export.json").read_text())["files"] == done["files"]
    run = load_run(path)
    assert done["channels"] == list(run.channels.ch_names)
    brain, image = (7, len(done["channels"]), 250), (7, run.model.n_features)
    sides = {"brain": (brain, run.model), "image": (image, run.model.image_head)}
    for name, (shape, function) in sides.items():
        [file] = folder.glob(f"{name}.*")
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(LOADERS[form](file)(x), function(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "form", ["torchscript", "torch-export", pytest.param("onnx", marks=pytest.mark.slow)]
)
def test_exported_models(call, tiny_run, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnxscript")
    compare_exported(call, tiny_run[0], tmp_path, form)


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [("--method", "nice"), ("--method", "atm"), ("--backbone", "EEGNet")],
    ids=lambda args: args[1],
)
def test_onnx_of_other_models(call, sim_dir, tmp_path, args):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    tiny = ("--preset", "tiny", "--encoder", "simnet", "--epochs", 1, "--data-dir", sim_dir)
    run = call("train", *tiny, *args, "--out", tmp_path, "--json", code=0).json["run"]
    compare_exported(call, run, tmp_path / "onnx", "onnx")


def test_an_export_that_differs_is_refused(call, tiny_run, tmp_path, monkeypatch):
    import braindecode_ssr.sharing.export

    def wrong(side, example, path):
        path.write_bytes(b"x")
        return lambda x: 1.001 * side(x)

    monkeypatch.setitem(braindecode_ssr.sharing.export.WRITERS, "torchscript", wrong)
    args = ("export", tiny_run[0], "--out", tmp_path / "out", "--format")
    assert "differs from the run by 1.0e-03" in call(*args, "torchscript", code=1).error
    assert not (tmp_path / "out").exists()
    assert "did you mean 'torchscript'" in call(*args, "torchscrypt", code=2).error
    monkeypatch.setattr(braindecode_ssr.sharing.export, "find_spec", lambda name: None)
    assert 'pip install "braindecode-ssr[onnx]"' in call(*args, "onnx", code=2).error


def test_exported_embeddings_give_the_ranks_of_the_run(call, tiny_run, tmp_path):
    call("export", tiny_run[0], "--format", "embeddings", "--out", tmp_path, code=0)
    arrays = np.load(tmp_path / "embeddings.npz", allow_pickle=False)
    brain, gallery = (
        arrays[name] / np.linalg.norm(arrays[name], axis=1, keepdims=True)
        for name in ("brain", "gallery")
    )
    near, ids = brain @ gallery.T, arrays["gallery_ids"].tolist()
    queries = pd.read_csv(tiny_run[0] / "queries.csv").set_index("image_id")
    for row, image in zip(near, arrays["brain_ids"], strict=True):
        assert (row >= row[ids.index(image)]).sum() == queries.loc[image, "rank"]


@pytest.mark.parametrize("settings", [{"average": "none"}, {"n_way": 4}, {"correction": "csls"}])
def test_embeddings_of_another_evaluation_are_refused(call, tiny_run, tmp_path, settings):
    run = shutil.copytree(tiny_run[0], tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["spec"]["evaluation"] |= settings
    (run / "run.json").write_text(json.dumps(record))
    error = call("export", run, "--format", "embeddings", "--out", tmp_path / "out", code=2).error
    assert next(iter(settings)).replace("_", "-") in error and not (tmp_path / "out").exists()
    command = re.search(r"ssr-bd (.*) FILE.npz", error)[1].split()
    call(*command, tmp_path / "file.npz", code=0)
    assert len(np.load(tmp_path / "file.npz")["brain_ids"]) == 16


def test_finetune(call, tiny_run, tmp_path):
    from safetensors.torch import load_file

    from braindecode_ssr import load_run
    from braindecode_ssr.reporting.run_figures import key_of

    options = ("--subject", 2, "--epochs", 2, "--out", tmp_path, "--freeze", "backbone", "--json")
    done = call("finetune", tiny_run[0], "--trials", "16,32", *options, code=0)
    rows = done.json["rows"]
    assert [row["trials"] for row in rows] == [0, 16, 32]
    assert rows[0]["run"] == str(tiny_run[0]) and {row["n_queries"] for row in rows} == {16}
    run, base = load_run(rows[2]["run"]), load_file(tiny_run[0] / "model.safetensors")
    weights = load_file(run.weights)
    moved = {name for name, value in weights.items() if not torch.equal(value, base[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)
    summary = run.summary
    assert "finetuned" in summary["flags"] and summary["method"] == "ssr-finetuned-32"
    assert (summary["subject"], summary["train_subjects"]) == (2, [2])
    assert summary["n_train"] <= 32 and summary["top1"] == rows[2]["top1"]
    assert key_of(run)[4] == "ssr-finetuned-32 †"  # figures call it what tables call it
    assert run.spec.finetune.run == tiny_run[0].name and run.spec.finetune.trials == 32
    assert (
        f"from {tiny_run[0].name} with 32 training trials" in (run.path / "README.md").read_text()
    )
    # evaluate and report work as for any run, and the same command trains nothing again
    assert call("evaluate", run.path, "--json", code=0).json["flags"] == summary["flags"]
    assert "ssr-finetuned-32" in call("report", run.path, tiny_run[0], code=0).out
    again = call("finetune", tiny_run[0], "--trials", "32", *options, code=0)
    assert again.json["rows"][-1]["run"] == str(run.path) and "finished already" in again.err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--subject", 99), "99"),
        (("--subject", 5, "--trials", 100000), "use fewer --trials"),
        (("--subject", 5, "--freeze", "backbones"), "did you mean 'backbone'"),
    ],
)
def test_what_cannot_be_finetuned(call, tiny_run, tmp_path, args, expected):
    assert expected in call("finetune", tiny_run[0], *args, "--out", tmp_path, code=2).error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"spec": {"model": {"subjects": "own"}}}, "a part for each subject"),
        ({"spec": {"train": {"solver": "ridge-decoding"}}}, "closed form"),
        ({"features": {"original": "another"}}, "simnet"),
        ({"signals": {"sampling rate": "100 Hz"}}, "the sampling rate differs"),
    ],
    ids=["own", "closed", "features", "signals"],
)
def test_a_run_that_does_not_fit_is_not_finetuned(call, tiny_run, tmp_path, change, expected):
    from braindecode_ssr.config import merge

    other = shutil.copytree(tiny_run[0], tmp_path / "run")
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(merge(record, change)))
    assert expected in call("finetune", other, "--subject", 5, "--out", tmp_path).error


def test_concepts_that_the_run_learned_are_not_tested(tiny_run, tmp_path, monkeypatch):
    """In another dataset, whose test concepts the run was trained on."""
    from braindecode_ssr import calibrate
    from braindecode_ssr.errors import LeakageError

    class Swapped(ThingsSim):
        @property
        def images(self):
            swapped = {"train": "test", "test": "train"}
            return super().images.assign(split=super().images["split"].map(swapped))

    def opened(data, root):
        return (Swapped if data.dataset == "swapped" else ThingsSim)(root or tmp_path, "tiny")

    monkeypatch.setattr(calibrate, "open_dataset", opened)
    with pytest.raises(LeakageError, match="zero-shot"):
        calibrate.finetune(tiny_run[0], subject=2, dataset="swapped", out=tmp_path)
