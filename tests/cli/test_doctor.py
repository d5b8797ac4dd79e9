import sys


def test_it_names_versions_devices_and_folders(call, tmp_path, monkeypatch):
    monkeypatch.setenv("SSR_DATA", str(tmp_path))
    rows = {row["what"]: row for row in call("doctor", "--json", code=0).json}
    import torch

    assert rows["torch"]["found"].split("+")[0] == torch.__version__.split("+")[0]
    assert "cores" in rows["cpu"]["found"]
    assert str(tmp_path) in rows["data"]["found"] and "$SSR_DATA" in rows["data"]["found"]
    assert rows["things-eeg"]["state"] == "note" and "bids" in rows
    assert rows["$SSR_DATA"]["found"] == str(tmp_path) and "commit" in rows["installed in"]["found"]


def test_a_torchaudio_that_does_not_load_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # makes the import fail
    rows = {row["what"]: row for row in call("doctor", "--json", code=1).json}
    assert rows["torchaudio"]["state"] == "missing"
    assert "does not load" in rows["torchaudio"]["found"]
