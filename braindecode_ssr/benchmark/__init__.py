"""A grid of runs, done on one machine or on a cluster, and the tables of all their ranks."""
