"""What MNE says of montages while braindecode is imported reaches neither warnings nor stdout."""

import logging
import warnings

from braindecode_ssr.models.names import quiet_import


def test_montage_names_are_silenced_and_nothing_else():
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("mne")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with quiet_import():
                for text in ("Montage name 'standard_1020' is deprecated", "something else"):
                    logger.error(text)
                    warnings.warn(text, FutureWarning, stacklevel=1)
            logger.error("Montage name, afterwards")
    finally:
        logger.removeHandler(handler)
    assert heard == ["something else", "Montage name, afterwards"]
    assert [str(warning.message) for warning in caught] == ["something else"]
