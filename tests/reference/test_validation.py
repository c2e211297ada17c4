"""Checks that other packages use, too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nntk_reference import InputError
from nntk_reference.validation import seed


@pytest.mark.parametrize("value", [0, 1, 2**32 - 1, np.int64(7), np.uint32(2**32 - 1)])
def test_a_seed_is_a_whole_number_below_two_to_the_32(value: Any) -> None:
    found = seed(value)
    assert found == int(value)
    assert type(found) is int
    np.random.default_rng(found)


@pytest.mark.parametrize("value", [-1, 2**32, 10**30, 1.0, math.nan, "1", None, True, np.bool_(True), [1]])
def test_what_is_no_seed_is_refused_by_the_name_given(value: Any) -> None:
    for name, options in (("seed", {}), ("--seed", {"name": "--seed"})):
        with pytest.raises(InputError, match=r"an integer from 0 to 4294967295") as caught:
            seed(value, **options)
        assert caught.value.argument == name
