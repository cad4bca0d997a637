"""The registry: packages that are served and packages that are rejected."""

import pytest

from service.repository.registry import Registry, RejectedPackage, select_default


def test_the_registry_is_empty_when_nothing_is_there() -> None:
    registry = Registry({}, (RejectedPackage("a/1", "no"),))
    assert (registry.names, registry.rejected_packages) == ((), (RejectedPackage("a/1", "no"),))


@pytest.mark.parametrize(("declared", "version"), [(1, 1), (9, 3), (None, 3), (RejectedPackage("a/default", "no"), 3)])
def test_the_default_is_the_declared_version_if_it_is_there_else_the_highest(
    declared: int | RejectedPackage | None, version: int
) -> None:
    assert select_default(declared, (1, 3, 2)) == version


def test_a_folder_whose_name_is_no_utf8_is_listed_in_printable_form_and_forgotten_when_it_is_removed() -> None:
    registry = Registry({})
    registry.reject(RejectedPackage("a\udcff/1", "a\udcff/1 has no manifest.json"))
    assert registry.rejected_packages == (RejectedPackage("a\\xff/1", "a\\xff/1 has no manifest.json"),)
    registry.remove("a\udcff/1")
    assert not registry.rejected_packages
