"""The errors users meet: one sentence that says what is wrong, one that says what to do."""


class SSRError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong: a plain sentence without a full stop.
    hint : str
        What the user can do about it: an exact command, option or path.

    Notes
    -----
    The older form with three parts, ``(expected, found, hint)``, is read as
    ``("expected {expected}; found {found}", hint)`` until every caller has been rewritten.
    """

    exit_code = 1

    def __init__(self, *parts: str) -> None:
        if len(parts) == 3:
            expected, found, hint = parts
            parts = f"expected {expected}; found {found}", hint
            self.expected, self.found = expected, found
        else:
            self.expected, self.found = "", parts[0]
        self.message, self.hint = parts
        super().__init__(*parts)

    def __str__(self) -> str:
        text = "; ".join(part for part in (self.message, self.hint) if part)
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
