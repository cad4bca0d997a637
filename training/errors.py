"""What can go wrong in a training run through no fault of ours: one sentence each, exit code 2, nothing half-written.

TrainingError
├── RecipeError      a recipe that cannot be read, an unknown key, a value out of range
├── DataError        data that is missing, broken, too little, or of mixed sizes: the file is named
├── DownloadError    the publisher cannot be reached, or the bytes are not what it says
├── NotFinite        the loss became NaN or infinite: the run stops, the last checkpoint stays
├── DiskError        a file could not be written: what was there before stays
├── ComparisonError  what `compare` was given are no packages, or of different data
└── ParityError      the exported graphs do not answer as torch does: no package is written
"""


class TrainingError(Exception):
    """Root; the message is the one line that the command line prints."""


class RecipeError(TrainingError):
    pass


class DataError(TrainingError):
    pass


class DownloadError(TrainingError):
    pass


class NotFinite(TrainingError):
    pass


class DiskError(TrainingError):
    pass


class ComparisonError(TrainingError):
    pass


class ParityError(TrainingError):
    pass
