"""Many runs: a grid of methods, subjects and seeds, done in parallel, and the tables of its results."""

from __future__ import annotations
