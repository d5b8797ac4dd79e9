"""THINGS-EEG2: raw, preprocessed and in BIDS."""
