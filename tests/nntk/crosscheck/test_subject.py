"""Finding the factory."""

from __future__ import annotations

import pytest

from nntk.crosscheck import FactoryError, check_optimizer


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module:make", "no module 'no_such_module'"),
        ("tests.nntk.optimizers:no_such_name", "no_such_name"),
        ("tests.nntk.optimizers:right_dens", "did you mean 'right_dense'"),
        ("optimizers", "package.module:factory"),
        ("tests.nntk.optimizers:ACTIVATIONS", "callable"),
    ],
)
def test_factories_that_cannot_be_found(path: str, words: str) -> None:
    with pytest.raises(FactoryError, match=words):
        check_optimizer(path)
