"""Errors of training that a user can correct: each message is one sentence, the exit code is 2.

TrainingError
├── RecipeError      a recipe that cannot be read, an unknown key, a value out of range
├── DataError        data that is missing, broken, too little, or of mixed sizes; the message names the file
├── DownloadError    the publisher cannot be reached, or the bytes do not have the expected checksum
├── NotFinite        the loss became NaN or infinite: the run stops, the last checkpoint stays
├── CheckpointError  a checkpoint that is damaged, or does not fit the run
├── RunLocked        another process trains in the same folder
├── DiskError        a file could not be written: the old one, if any, stays
├── ComparisonError  folders that `compare` got hold no packages, or packages of different data
├── ImportRefused    a model from elsewhere that cannot become a package; the message has the remedy
└── ParityError      the exported graphs do not answer as torch does: no package is written
"""


class TrainingError(Exception):
    """Base class; the message is the one line that the command line prints."""


class RecipeError(TrainingError):
    pass


class DataError(TrainingError):
    pass


class DownloadError(TrainingError):
    pass


class NotFinite(TrainingError):
    pass


class CheckpointError(TrainingError):
    pass


class RunLocked(TrainingError):
    pass


class DiskError(TrainingError):
    pass


class ComparisonError(TrainingError):
    pass


class ParityError(TrainingError):
    pass


class ImportRefused(TrainingError):
    pass
