"""Results and runs that meet other programs: scores, ensembles, exports, the Hub."""
