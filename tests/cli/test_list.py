import pytest


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("datasets", {"things-sim", "things-eeg"}),
        ("methods", {"ssr", "neurobridge", "contrast"}),
        ("backbones", {"EEGProject", "TSConv", "EEGNet", "ShallowFBCSPNet", "ATCNet"}),
        ("image-heads", {"linear", "fusion", "geodesic"}),
        ("losses", {"ssr", "contrast", "neurobridge"}),
        ("encoders", {"pyramid", "open-clip"}),
        ("views", {"original", "blur", "noise", "low-resolution", "mosaic", "fovea", "text"}),
    ],
)
def test_every_kind_lists_its_parts(call, kind, expected):
    rows = call("list", kind, "--json", code=0).json
    assert expected <= {row["name"] for row in rows}
    plain = call("list", kind, code=0).out.splitlines()
    assert len(plain) == len(rows) + 1 and plain[0].startswith("name")


def test_methods_carry_source_and_published_numbers(call):
    rows = {row["name"]: row for row in call("list", "methods", "--json", code=0).json}
    assert rows["ssr"]["published"]["things-eeg"]["intra"] == [66.9, 92.9]
    assert rows["neurobridge"]["known_to_differ"]
    assert "SSR" not in {row["name"] for row in call("list", "backbones", "--json", code=0).json}
