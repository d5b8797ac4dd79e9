"""The errors users meet: each says what was expected, what was found, how to mend it."""


class SSRError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    expected : str
        What had to be there.
    found : str
        What was there instead.
    mend : str
        What the user can do about it: an exact command, option or path.
    """

    exit_code = 1

    def __init__(self, expected: str, found: str, mend: str) -> None:
        self.expected, self.found, self.mend = expected, found, mend
        super().__init__(expected, found, mend)

    def __str__(self) -> str:
        text = f"expected {self.expected}; found {self.found}; {self.mend}"
        return " ".join(text.split())


class UsageError(SSRError, ValueError):
    """A name, option or setting that cannot be used as given (exit code 2)."""

    exit_code = 2


class DataError(SSRError):
    """Data that is there but is not what it should be."""


class MissingDataError(DataError, FileNotFoundError):
    """Data that is not where it was looked for."""

    __str__ = SSRError.__str__


class LeakageError(SSRError):
    """A test concept or test image where only training ones may be."""


class TrainingError(SSRError):
    """Training that cannot start or go on."""
