"""Where the files of THINGS-EEG2 can be had: addresses, sizes, licences.

Read off the public pages and scripts in 2025; the addresses could not be tried from here. Sizes in bytes; the
SHA-256 are those of the NEMAR mirror (DOI 10.82901/nemar.nm000232).
"""

from __future__ import annotations

from dataclasses import dataclass

DATA_LICENCE = "CC BY 4.0"
IMAGE_LICENCE = "research use only, not to be redistributed; the owners keep their copyright"
METADATA_SHA256 = "681a75633c59a356a66ca19a277429c1d48a00a98405ff96e53ee0b9f00b397c"
RAW_FIGSHARE = dict(
    zip(
        range(1, 11),
        "33244238 33247340 33247355 33247361 33247376 "
        "34404491 33247622 33247652 38916017 33247694".split(),
        strict=True,
    )
)
"""File numbers of figshare+ article 18470912, by subject."""
GIFFORD_OSF = dict(
    zip(
        range(1, 11),
        "nb8wr u43p5 fy4n6 py8jz 2cn7v bd83f mw8hr n9bzm fv6jz 8fyu9".split(),
        strict=True,
    )
)
"""OSF files of the preprocessed form, by subject."""


@dataclass(frozen=True)
class Source:
    """One thing that can be downloaded.

    Parameters
    ----------
    what : str
        What it is.
    url : str
        Where it is.
    place : str
        Where its content belongs, below the folder of the dataset.
    size : int
        Bytes to download; 0 where it is not known.
    licence : str
        Terms of use.
    sha256 : str
        Of the download, or empty.
    """

    what: str
    url: str
    place: str
    size: int
    licence: str
    sha256: str = ""


IMAGE_SOURCES = (
    Source(
        "image list",
        "https://osf.io/download/qkgtf",
        "image_set/image_metadata.npy",
        656579,
        DATA_LICENCE,
        METADATA_SHA256,
    ),
    Source(
        "training images",
        "https://osf.io/download/3v527",
        "image_set/training_images.zip, to be unpacked there",
        655039265,
        IMAGE_LICENCE,
        "dc9cc627141ba230641f729f84b80eb01f0a963d288c971eefcf76b4a7581f3a",
    ),
    Source(
        "test images",
        "https://osf.io/download/znu7b",
        "image_set/test_images.zip, to be unpacked there",
        8129948,
        IMAGE_LICENCE,
        "57ed472cd88f68ccf88e9ecbadf3da91ac222d8548684d5680be95bcf47ec14a",
    ),
)


def raw_source(subject: int) -> Source:
    """The raw recordings of a subject; unpacked, about 14.4 GB."""
    number = RAW_FIGSHARE.get(subject)
    url = (
        f"https://plus.figshare.com/ndownloader/files/{number}"
        if number
        else "https://doi.org/10.25452/figshare.plus.18470912"
    )
    place = f"Raw_data/sub-{subject:02d}/ses-0[1-4]/raw_eeg_training.npy and raw_eeg_test.npy"
    what = f"raw EEG of subject {subject}, sub-{subject:02d}.zip, 14.4 GB unpacked; also OSF crxs4"
    return Source(what, url, place, 0, DATA_LICENCE)


def release_source(form: str, subject: int) -> Source:
    """A released preprocessed form of a subject; all but Gifford's are unofficial copies."""
    folder = f"sub-{subject:02d}"
    if form == "gifford":
        osf = GIFFORD_OSF.get(subject)
        url = f"https://osf.io/download/{osf}" if osf else "https://osf.io/anp5v"
        place = f"Preprocessed_data/{folder}/preprocessed_eeg_training.npy and ..._test.npy"
        what = f"preprocessed EEG of subject {subject}, 17 channels, 100 Hz"
        return Source(what, url, place, 1071700000, DATA_LICENCE)
    dataset, place = {
        "nice": (
            "LidongYang/EEG_Image_decode",
            f"Preprocessed_data_250Hz/{folder}/preprocessed_eeg_training.npy and ..._test.npy",
        ),
        "ubp": (
            "Haitao999/things-eeg",
            f"Preprocessed_data_250Hz_whiten/{folder}/train.pt and test.pt",
        ),
        "neurobridge": (
            "Feronl/NeuroBridge",
            f"preprocessed_eeg/{folder}/train.npy and test.npy, preprocessed_eeg/info.json",
        ),
    }[form]
    what = f"preprocessed EEG of subject {subject}, form {form!r}, an unofficial copy"
    return Source(what, f"https://huggingface.co/datasets/{dataset}", place, 0, "see its page")
