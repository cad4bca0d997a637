"""Errors of the command line: each is one line on standard error and exit code 2.

CommandError
|- FilesError       a command on files cannot start
|- PackageNotFound  no package has that name and version
|- ListenError      the address cannot be bound
`- NothingToTune    no model takes images of any size
"""


class CommandError(Exception):
    """A command cannot start or cannot go on; the message is one line."""


class FilesError(CommandError):
    """A command on files cannot start; nothing has been written yet."""


class PackageNotFound(CommandError):
    """No package in the models folder has the name and version; the message lists those that exist."""


class ListenError(CommandError):
    """The service cannot listen on its address."""


class NothingToTune(CommandError):
    """The models folder holds no model that takes images of any size."""
