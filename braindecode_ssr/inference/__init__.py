"""A trained run at work: its test set, and new recordings."""
