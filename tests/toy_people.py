"""Toy subjects with fates, in a module that other processes can import."""

import os
import time

import numpy as np
from toy_recordings import ToyDataset, toy_recording

from braindecode_ssr.errors import DataError


class People(ToyDataset):
    """Four subjects, each with a fate."""

    subjects = (1, 2, 3, 4)

    def __init__(self, root, fates):
        super().__init__(root, [])
        self.fates = fates

    def recordings(self, subject):
        yield toy_recording([1, 2, 3, 1], subject=subject, seed=subject)
        yield toy_recording([1, 2], split="test", subject=subject, seed=subject)
        fate = self.fates.get(subject)
        if fate == "killed":
            os.kill(os.getpid(), 9)
        if fate == "waits":
            time.sleep(120)
        if fate:
            raise DataError(f"the file is {fate}", "download it again")

    def presentations(self, subject, spec):
        return [("train", np.array([1, 2, 3, 1])), ("test", np.array([1, 2]))]
