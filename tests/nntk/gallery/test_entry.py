"""The gallery's registry: each subject is entered where it is defined, and each module of subjects is listed."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import Any

import pytest

import nntk.gallery
from nntk.crosscheck import PROFILES
from nntk.gallery import ENTRIES, MODULES, entry, register

NOT_SUBJECTS = {"__main__", "entry", "page"}


def test_every_module_of_subjects_is_listed() -> None:
    """A new package takes one module, and one line in MODULES."""
    found = {module.name for module in pkgutil.iter_modules(nntk.gallery.__path__)}
    assert set(MODULES) == found - NOT_SUBJECTS
    assert len(set(MODULES)) == len(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_holds_one_package_and_all_its_factories_are_entered(name: str) -> None:
    module = import_module(f"nntk.gallery.{name}")
    entered = [e for e in ENTRIES.values() if e.factory.__module__ == module.__name__]
    public = [
        f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__ and f.__name__[0] != "_"
    ]
    assert [e.factory for e in entered] == public
    assert len({e.distribution for e in entered}) == 1


def test_the_order_is_that_of_the_modules() -> None:
    modules = [e.factory.__module__.rpartition(".")[2] for e in ENTRIES.values()]
    assert list(dict.fromkeys(modules)) == list(MODULES)
    assert modules == sorted(modules, key=MODULES.index)


@pytest.mark.parametrize("id", ENTRIES)
def test_an_entry_is_described_and_found_by_its_id(id: str) -> None:
    subject = ENTRIES[id]
    assert getattr(nntk.gallery, id) is subject.factory
    assert id in dir(nntk.gallery)
    assert subject.id == id
    assert subject.profile in PROFILES
    assert subject.title
    assert subject.claim
    assert subject.settings
    assert (subject.rtol is not None) <= (subject.profile == "approximate-newton")
    assert inspect.getdoc(subject.factory)


def test_an_id_is_entered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def torch_sgd(model: Any, X: Any, y: Any, damping: float) -> Any: ...

    def new(model: Any, X: Any, y: Any, damping: float) -> Any: ...

    monkeypatch.setattr(entry, "_ENTRIES", dict(ENTRIES))
    add = register("torch", "first-order", "title", "claim")
    with pytest.raises(ValueError, match="torch_sgd"):
        add(torch_sgd)
    assert add(new) is new
    assert list(entry._ENTRIES) == [*ENTRIES, "new"]
    assert entry._ENTRIES["new"].settings == "defaults"


def test_an_unknown_id_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'torch_sdg'"):
        nntk.gallery.torch_sdg  # noqa: B018
