"""Where the files of THINGS-EEG2 can be had: addresses, sizes, checksums, licences.

Read off the public pages and scripts in 2025; the addresses could not be tried from here. Sizes in bytes; the
SHA-256 are those of the NEMAR mirror (DOI 10.82901/nemar.nm000232), which holds the author's files.
"""

from __future__ import annotations

from ..download.source import Archive, Source

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
GIFFORD_FILES = {
    1: (1071722467, "f25d5ea30ba6811edd7ebd460d7b271edaf527b6920ab2d3d6e7950e9ee9639f"),
    2: (1071516660, "e1eba2d74009c6dd41becf53d84b8d47532103b41110a5855e7e286bcca6fe41"),
    3: (1071567672, "ec12b31410b8161f5b274b4c61890a615e5fdbb5e58e6e9325a0188272daa936"),
    4: (1071421033, "eec31590d21248d9cc8caf3b93f5711b2c24540f080eab4f83f152155f5a6eb5"),
    5: (1072655693, "d353e154e840ff9c07b2de19db2105626df4bc556313365cff392dd56d8df40e"),
    6: (1072667739, "2aa40414e495b44e57ab98c345b19085c769d14b4ba3704ba6fdf99dfc40060f"),
    7: (1071671310, "729cf0136b1c4e0cdfecd79a7a0c25fb2a741a7baed9d775cfb8ed1507bb8ff4"),
    8: (1071848309, "c604d30723c65c25a612888bc1c16a83a58f26b5aab9a146d5029c626ffb5a71"),
    9: (1071469818, "7c5a67083e5c5b73f2d2ede03d7e76f082f6d61ae4f74ec08783ce5841b0604b"),
    10: (1071595380, "6cd7111bbd8d62d29b05abe0533fa6bca8f634ef85ce9c19ae8ab0a853681094"),
}
"""Size and SHA-256 of the zips of the preprocessed form, by subject."""
GIFFORD_UNPACKED = 1_117_376_500  # (16,540 x 4 + 200 x 80) trials of 17 x 100 float64
NEMAR = "nm000232"
_FIRST_TEN = range(1, 11)

IMAGE_SOURCES = (
    Source(
        "image list",
        "image_set/image_metadata.npy",
        ("https://osf.io/download/qkgtf",),
        656579,
        DATA_LICENCE,
        METADATA_SHA256,
    ),
    Source(
        "training images",
        "image_set/training_images",
        ("https://osf.io/download/3v527",),
        655039265,
        IMAGE_LICENCE,
        "dc9cc627141ba230641f729f84b80eb01f0a963d288c971eefcf76b4a7581f3a",
        archive=Archive("image_set/training_images.zip", keep=2, unpacked=680_000_000),
    ),
    Source(
        "test images",
        "image_set/test_images",
        ("https://osf.io/download/znu7b",),
        8129948,
        IMAGE_LICENCE,
        "57ed472cd88f68ccf88e9ecbadf3da91ac222d8548684d5680be95bcf47ec14a",
        archive=Archive("image_set/test_images.zip", keep=2, unpacked=8_500_000),
    ),
)


def raw_source(subject: int) -> Source:
    """The raw recordings of a subject; unpacked, about 14.4 GB."""
    number, name = RAW_FIGSHARE.get(subject), f"sub-{subject:02d}"
    urls = (
        f"https://plus.figshare.com/ndownloader/files/{number}",
        f"https://files.osf.io/v1/resources/crxs4/providers/googledrive/{name}.zip",
    )
    files = ("raw_eeg_training.npy", "raw_eeg_test.npy")
    return Source(
        what=f"raw EEG of subject {subject}",
        place=f"Raw_data/{name}",
        urls=urls if number else ("https://doi.org/10.25452/figshare.plus.18470912",),
        size=0,
        licence=DATA_LICENCE,
        about=5_500_000_000,
        archive=Archive(
            place=f"Raw_data/{name}.zip",
            keep=2,
            names=tuple(f"ses-{session:02d}/{file}" for session in range(1, 5) for file in files),
            unpacked=14_400_000_000,
        ),
    )


def bids_source(subject: int) -> Source:
    """The BIDS recordings of a subject, at NEMAR; all ten are 203.9 GB."""
    return Source(
        what=f"BIDS recordings of subject {subject}, NEMAR {NEMAR}",
        place=f"{NEMAR}/sub-{subject:02d}",
        urls=("https://data.nemar.org",),
        size=0,
        licence=DATA_LICENCE,
        about=20_400_000_000,
        nemar=NEMAR,
    )


def release_source(form: str, subject: int) -> Source:
    """A released preprocessed form of a subject; all but Gifford's are unofficial copies."""
    name = f"sub-{subject:02d}"
    if form == "gifford":
        return _gifford_source(subject, name)
    dataset, folder, about = {
        "nice": ("LidongYang/EEG_Image_decode", "Preprocessed_data_250Hz", 10_300_000_000),
        "ubp": ("Haitao999/things-eeg", "Preprocessed_data_250Hz_whiten", 2_600_000_000),
        "neurobridge": ("Feronl/NeuroBridge", "preprocessed_eeg", 5_200_000_000),
    }[form]
    return Source(
        what=f"preprocessed EEG of subject {subject}, form {form!r}, an unofficial copy",
        place=f"{folder}/{name}",
        urls=(f"https://huggingface.co/datasets/{dataset}",),
        size=0,
        licence="see its page",
        about=about,
    )


def _gifford_source(subject: int, name: str) -> Source:
    osf = GIFFORD_OSF.get(subject)
    size, sha256 = GIFFORD_FILES.get(subject, (0, ""))
    return Source(
        what=f"preprocessed EEG of subject {subject}, 17 channels, 100 Hz",
        place=f"Preprocessed_data/{name}",
        urls=(f"https://osf.io/download/{osf}" if osf else "https://osf.io/anp5v",),
        size=size,
        licence=DATA_LICENCE,
        sha256=sha256,
        archive=Archive(
            place=f"Preprocessed_data/{name}.zip",
            names=("preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"),
            unpacked=GIFFORD_UNPACKED,
        ),
    )
