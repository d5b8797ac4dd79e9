"""Recordings in BIDS folders: your own studies, THINGS-EEG1, THINGS-EEG2."""
