"""The order of the tutorials in the galleries: a course, from the first run to plugins."""

from pathlib import Path

ORDER = (
    *("first_retrieval", "new_recording", "swap_backbone", "own_network", "honest_numbers"),
    *("when_and_where", "linear_model", "ssr_loss", "views", "things_eeg2", "things_meg"),
    *("own_bids_study", "subjects", "pretrained_backbone", "grid_search", "benchmark"),
    *("score_and_ensemble", "challenge", "share", "moabb_and_braindecode", "plugin"),
)


def place(path):
    """Sort key of a tutorial; those that are not listed come last."""
    name = Path(path).stem.removeprefix("plot_")
    return ORDER.index(name) if name in ORDER else len(ORDER)
