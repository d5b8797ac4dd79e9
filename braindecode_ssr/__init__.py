"""Decode which image a person saw, from EEG or MEG, with any braindecode model."""

__version__ = "0.1.0"
