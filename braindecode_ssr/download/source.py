"""What can be downloaded: addresses, size, checksum, licence, and where it belongs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Archive:
    """How a zip becomes a folder.

    Parameters
    ----------
    place : str
        Where the zip itself may lie, below the folder of the dataset, when somebody brought it by hand.
    keep : int
        How many parts of a member's path are kept, counted from its end: 2 makes
        ``training_images/00001_aardvark/a.jpg`` and ``00001_aardvark/a.jpg`` the same file.
    names : tuple of str
        The files that the folder must hold, all others are left packed; empty: all, whatever they are.
    count : int
        Files that the folder must hold at least, where their names are not known.
    unpacked : int
        Bytes on the disk afterwards, about.
    password : str
        Where its password is told; empty if it has none.
    """

    place: str
    keep: int = 1
    names: tuple[str, ...] = ()
    count: int = 1
    unpacked: int = 0
    password: str = ""


@dataclass(frozen=True)
class Source:
    """One thing that can be downloaded.

    Parameters
    ----------
    what : str
        What it is.
    place : str
        The file, or the folder made of an archive, below the folder of the dataset.
    urls : tuple of str
        Where it is, in the order to try.
    size : int
        Bytes to download, exactly; 0 where that is not known.
    licence : str
        Terms of use.
    sha256 : str
        Of the download, or empty.
    about : int
        Bytes to download, roughly, where ``size`` is not known.
    archive : Archive, optional
        If the download is a zip that is unpacked.
    authority : str
        Who says the checksum.
    nemar : str
        A data set of NEMAR, of which nemar-py brings the subject that ``place`` ends with.
    """

    what: str
    place: str
    urls: tuple[str, ...]
    size: int
    licence: str
    sha256: str = ""
    about: int = 0
    archive: Archive | None = None
    authority: str = "as published"
    nemar: str = ""

    @property
    def url(self) -> str:
        """The first address."""
        return self.urls[0]

    @property
    def file(self) -> str:
        """The downloaded file, below the folder of the dataset: the archive, or the file itself."""
        return self.archive.place if self.archive else self.place

    @property
    def bytes(self) -> int:
        """Bytes to download, as well as they are known."""
        return self.size or self.about

    @property
    def on_disk(self) -> int:
        """Bytes that stay on the disk, as well as they are known."""
        return (self.archive.unpacked if self.archive else 0) or self.bytes

    @property
    def proof(self) -> str:
        """What a download is compared with before it is used."""
        if self.sha256:
            return f"SHA-256 {self.authority}"
        if self.archive:
            return "CRC-32 of every unpacked file"
        if self.nemar:
            return "checksums of NEMAR"
        return "size" if self.size else "first bytes"

    def at(self, url: str) -> Source:
        """The same thing at another address."""
        return replace(self, urls=(url,))

    def certified(self, sha256: str, authority: str) -> Source:
        """The same thing in the version that somebody else holds: nothing is known of its size."""
        archive = self.archive and replace(self.archive, unpacked=0)
        return replace(self, sha256=sha256, size=0, about=0, authority=authority, archive=archive)
