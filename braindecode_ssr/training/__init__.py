"""Training: data, loop, callbacks, several processes, and closed forms."""
