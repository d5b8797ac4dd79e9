"""THINGS-MEG, as its authors preprocessed it."""
