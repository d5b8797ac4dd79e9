import pytest

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.preprocessing.channels import (
    OCCIPITAL_17,
    THINGS_EEG_63,
    THINGS_EEG_63_RAW,
    channel_indices,
)


def test_the_two_orders_hold_the_same_63_channels():
    assert len(THINGS_EEG_63) == len(set(THINGS_EEG_63)) == 63
    assert set(THINGS_EEG_63) == set(THINGS_EEG_63_RAW)
    assert "Fz" not in THINGS_EEG_63


def test_the_17_channels_are_those_that_begin_with_o_or_p():
    found = {name for name in THINGS_EEG_63_RAW if name[0] in "OP"}
    assert found == set(OCCIPITAL_17)
    assert len(OCCIPITAL_17) == 17


def test_all_names_have_a_place_on_the_head():
    import mne

    montage = mne.channels.make_standard_montage("easycap-M1")
    assert set(THINGS_EEG_63) <= set(montage.ch_names)


@pytest.mark.parametrize("order", [THINGS_EEG_63, THINGS_EEG_63_RAW])
def test_channels_are_found_by_name_in_the_asked_order(order):
    found = [order[index] for index in channel_indices(order, "occipital-17")]
    assert tuple(found) == OCCIPITAL_17
    assert channel_indices(order, "all") == list(range(63))
    assert [order[i] for i in channel_indices(order, ("Oz", "Cz"))] == ["Oz", "Cz"]


def test_missing_channels_are_all_named_with_near_matches():
    with pytest.raises(DataError) as caught:
        channel_indices(["Fp1", "Oz"], ("FP", "O1", "oz"))
    assert "no channel FP, O1, only" in str(caught.value)
    assert "'Fp1' for 'FP'" in str(caught.value)


@pytest.mark.parametrize("asked", ["occipital-18", ("Oz", "Oz"), ()])
def test_what_cannot_be_asked_for(asked):
    with pytest.raises(UsageError):
        channel_indices(THINGS_EEG_63, asked)


def test_a_set_name_with_a_slip_is_understood():
    with pytest.raises(UsageError, match="did you mean 'occipital-17'"):
        channel_indices(THINGS_EEG_63, "ocipital-17")


def test_63_channels_in_the_order_of_the_compared_methods():
    picks = channel_indices(THINGS_EEG_63_RAW, "things-eeg-63")
    assert tuple(THINGS_EEG_63_RAW[index] for index in picks) == THINGS_EEG_63
    assert picks != sorted(picks) == list(range(63))


HELMET = ["MLO11-1609", "MRO22-1609", "MZO01-1609", "MLP12", "MRT33-1609", "MLF11-1609", "MZC02"]


@pytest.mark.parametrize(
    ("region", "places"),
    [
        ("meg-occipital", [0, 1, 2]),
        ("meg-parietal", [3]),
        ("meg-temporal", [4]),
        ("meg-frontal", [5]),
        ("meg-central", [6]),
        ("meg-occipital-parietal", [0, 1, 2, 3]),
        ("meg-parietal-occipital", [0, 1, 2, 3]),
        ("meg-temporal-frontal-central", [4, 5, 6]),
        ("all", list(range(7))),
    ],
)
def test_sensors_of_a_region_in_the_order_of_the_recording(region, places):
    assert channel_indices(HELMET, region) == places


def test_regions_of_the_real_helmet():
    """Counts of THINGS-MEG: 271 sensors, those of the nominal 275 that work."""
    from braindecode_ssr.simulation.layouts import helmet

    names = helmet().names
    regions = ("frontal", "temporal", "central", "parietal", "occipital")
    counts = [len(channel_indices(names, f"meg-{region}")) for region in regions]
    assert counts == [67, 68, 52, 45, 39] and len(names) == 271


def test_a_region_that_was_not_recorded():
    with pytest.raises(DataError, match=r"CTF sensors of meg-occipital.*only Fz, Cz"):
        channel_indices(["Fz", "Cz"], "meg-occipital")


@pytest.mark.parametrize(
    "name", ["meg-", "meg-occipitl", "meg-occipital-", "occipital", "eeg-frontal"]
)
def test_regions_that_are_not_known(name):
    with pytest.raises(UsageError, match="channel set"):
        channel_indices(HELMET, name)
