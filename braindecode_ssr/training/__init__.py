"""Training: the training set, the net, its callbacks, several processes, and ridge regression."""
