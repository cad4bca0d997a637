"""Errors of the command line: the drawn tree is the real one."""

import re

from service.cli import errors


def test_the_tree_of_the_docstring_is_the_real_one() -> None:
    tree = set(re.findall(r"^[|`]- (\w+)", errors.__doc__ or "", re.MULTILINE))
    assert tree == {error.__name__ for error in errors.CommandError.__subclasses__()}
