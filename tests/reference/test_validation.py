"""Checks that other packages use, too: both sides of every bound, and what a refusal says."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb

from nntk_reference import FLOAT64, Ball, InputError, Multiprecision, SizeError, validation
from nntk_reference.validation import seed

MOST = 2**53
"""The largest integer up to which float64 holds every one."""


def refused(call: Callable[[], Any], argument: str, expected: str, got: str = "") -> None:
    """An InputError that names the argument, what was expected and what came."""
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.argument == argument
    assert expected in caught.value.expected
    assert got in caught.value.got


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


# --- arrays ------------------------------------------------------------------------------------------------------------------


def test_what_numpy_cannot_read_is_refused_with_its_type() -> None:
    refused(lambda: validation.as_array("v", [[1.0, 2.0], [3.0]], "two rows"), "v", "two rows", "list that NumPy cannot read")
    assert validation.as_array("v", [[1, 2]], "any").tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.uint64, np.float16, np.float32, np.float64, np.longdouble])
def test_arrays_of_real_numbers_become_float64_copies(dtype: Any) -> None:
    given = np.array([[1, 2, 3]], dtype=dtype)
    found = validation.real_array("v", given, (None, 3))
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0, 2.0, 3.0]]
    found[0, 0] = 7.0
    assert given[0, 0] == 1


@pytest.mark.parametrize("dtype", [bool, complex, object, str, "datetime64[D]"])
def test_arrays_of_other_kinds_are_refused_by_their_dtype(dtype: Any) -> None:
    given = np.array([1, 0]).astype(dtype)
    refused(lambda: validation.real_array("v", given, (2,)), "v", "real numbers", f"dtype {given.dtype}")


@pytest.mark.parametrize(
    ("shape", "wanted", "text"),
    [
        ((2, 3), (2, 2), "an array of shape (2, 2)"),
        ((2, 3), (3, 3), "an array of shape (3, 3)"),
        ((2, 3), (None, 2), "an array of shape (any, 2)"),
        ((2, 3), (None,), "an array of shape (any)"),
        ((2,), (3,), "an array of shape (3)"),
        ((2, 3), (2, 3, None), "an array of shape (2, 3, any)"),
        ((), (None,), "an array of shape (any)"),
        ((0,), (None,), "at least one entry"),
        ((2, 0), (None, None), "at least one entry"),
    ],
)
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...], wanted: tuple[int | None, ...], text: str) -> None:
    refused(lambda: validation.real_array("v", np.ones(shape), wanted), "v", text, f"shape {shape}")


def test_only_one_axis_in_place_of_two_is_answered_with_reshape() -> None:
    for shape, wanted, hinted in (((3,), (None, None), True), ((3,), (None,) * 3, False), ((3, 1, 1), (None, None), False)):
        with pytest.raises(InputError) as caught:
            validation.real_array("v", np.ones(shape), wanted)
        assert ("reshape(-1, 1)" in caught.value.got) == hinted


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_arrays_of_integers_end_where_float64_no_longer_holds_every_one(dtype: Any) -> None:
    assert validation.real_array("v", np.array([1, MOST], dtype=dtype), (2,))[1] == 2.0**53
    refused(lambda: validation.real_array("v", np.array([1, MOST + 1], dtype=dtype), (2,)), "v", "at most 2^53")
    if dtype == np.int64:
        assert validation.real_array("v", np.array([1, -MOST]), (2,))[1] == -(2.0**53)
        refused(lambda: validation.real_array("v", np.array([1, -MOST - 1]), (2,)), "v", "at most 2^53")
    assert validation.real_array("v", np.array([-1e300, 1e300]), (2,)).tolist() == [-1e300, 1e300]  # of floats all are held


def test_the_first_number_that_is_not_finite_is_shown_with_its_place() -> None:
    row = np.array([1.0, math.nan, math.inf])
    refused(lambda: validation.real_array("v", row, (3,)), "v", "finite numbers", "nan at index 1")
    refused(lambda: validation.real_array("v", row[None, 1:], (1, 2)), "v", "finite numbers", "nan at index (0, 0)")
    refused(lambda: validation.real_array("v", np.array([[1.0], [-math.inf]]), (2, 1)), "v", "finite", "-inf at index (1, 0)")


def test_longer_floats_are_taken_where_float64_holds_them() -> None:
    third = np.longdouble(1) / 3
    assert validation.real_array("v", np.array([np.longdouble(0.1), np.longdouble(2) ** -30]), (2,)).tolist() == [0.1, 2.0**-30]
    for value in (third, np.longdouble(2) ** 5000):  # too precise, too large
        refused(partial(validation.real_array, "v", np.array([np.longdouble(1), value]), (2,)), "v", "holds exactly")
        with pytest.raises(InputError):
            validation.real_number("v", value)
    assert validation.real_number("v", np.longdouble(0.1)) == 0.1


# --- numbers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [0, -3, MOST, -MOST, 0.5, 2.0**80, -1e308, 5e-324, np.int8(-5), np.float32(0.1), np.uint64(9)]
)
def test_a_real_number_becomes_the_float_that_it_is(value: Any) -> None:
    found = validation.real_number("v", value)
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "a real number"),
        (np.bool_(False), "a real number"),
        ("1", "a real number"),
        (1j, "a real number"),
        (None, "a real number"),
        (np.array([1.0]), "a real number"),
        (MOST + 1, "at most 2^53"),
        (-MOST - 1, "at most 2^53"),
        (np.int64(MOST + 1), "at most 2^53"),
        (np.uint64(2**64 - 1), "at most 2^53"),
        (10**400, "at most 2^53"),
        (math.inf, "a finite number"),
        (-math.inf, "a finite number"),
        (math.nan, "a finite number"),
    ],
)
def test_what_is_no_real_number_is_refused(value: Any, expected: str) -> None:
    refused(lambda: validation.real_number("v", value), "v", expected)
    refused(lambda: validation.positive("v", value), "v", expected)


def test_a_positive_number_is_any_above_zero() -> None:
    for value in (5e-324, 0.5, 1, 1e308):
        assert validation.positive("v", value) == value
    for value in (0, 0.0, -0.0, -5e-324, -1):
        refused(partial(validation.positive, "v", value), "v", "a number > 0", repr(value))


def test_a_whole_number_lies_between_its_ends_which_belong_to_it() -> None:
    for value in (-2, 0, np.int8(3), 5):
        found = validation.whole_number("v", value, -2, 5)
        assert (found, type(found)) == (value, int)
    others: list[Any] = [-3, 6, 10**30, 1.0, "1", None, True, np.bool_(True), np.float64(2)]
    for value in others:
        refused(partial(validation.whole_number, "v", value, -2, 5), "v", "an integer from -2 to 5", repr(value))


def test_a_whole_number_is_from_one_to_two_to_the_31_unless_told_otherwise() -> None:
    assert [validation.whole_number("v", value) for value in (1, 2**31)] == [1, 2**31]
    for value in (0, 2**31 + 1):
        refused(partial(validation.whole_number, "v", value), "v", "an integer from 1 to 2147483648", str(value))


def test_an_arithmetic_is_one_of_the_three() -> None:
    for value in (FLOAT64, Multiprecision(20), Ball(64)):
        assert validation.arithmetic(value) is value
    for other in (None, "float64", 53, Ball):
        refused(partial(validation.arithmetic, other), "arithmetic", "FLOAT64", repr(other))


# --- data --------------------------------------------------------------------------------------------------------------------


def test_inputs_are_rows_of_the_networks_dimension() -> None:
    X = [[1, 2], [3, 4], [5, 6]]
    for dim in (None, 2):
        assert validation.inputs(X, dim).tolist() == X
    for dim in (1, 3):
        refused(partial(validation.inputs, X, dim), "X", f"shape (any, {dim})", "shape (3, 2)")
    refused(lambda: validation.inputs([1.0, 2.0]), "X", "shape (any, any)", "shape (2,); use X.reshape(-1, 1)")


def test_there_is_one_target_for_each_input() -> None:
    X, y = validation.data_set([[1, 2], [3, 4]], [5, 6], 2)
    assert (X.tolist(), y.tolist()) == ([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0])
    for count in (1, 3):
        refused(partial(validation.targets, np.ones(count), 2), "y", "shape (2,)", f"shape ({count},)")
        refused(partial(validation.data_set, [[1.0], [2.0]], np.ones(count)), "y", "shape (2,)")
    refused(lambda: validation.data_set([[1.0]], [1.0], 2), "X", "shape (any, 2)")
    refused(lambda: validation.targets([[1.0], [1.0]], 2), "y", "shape (any)")


@pytest.mark.parametrize(("kind", "most"), [(FLOAT64, 20_000), (Ball(64), 2_000), (Multiprecision(20), 2_000)], ids=str)
def test_dense_work_ends_at_a_number_of_parameters(kind: Any, most: int) -> None:
    validation.dense_size(most, kind)
    with pytest.raises(SizeError, match=f"at most {most} parameters .*{most + 1}") as caught:
        validation.dense_size(most + 1, kind)
    assert caught.value.argument == "width"


# --- exact numbers and matrices ----------------------------------------------------------------------------------------------


def test_exact_numbers_are_floats_integers_and_those_of_mpmath_and_flint() -> None:
    mixed = np.array([[0.5, 3], [mpmath.mpf("0.25"), arb(1, 0.5)]], dtype=object)
    assert validation.exact_numbers("v", mixed) is mixed
    floats = validation.exact_numbers("v", np.array([[1, 2]], dtype=np.int8))
    assert floats.dtype == np.float64
    assert floats.tolist() == [[1.0, 2.0]]
    for wrong in (True, "1", None, 1j, mpmath.mpc(1)):
        refused(
            partial(validation.exact_numbers, "v", np.array([0.5, wrong], dtype=object)),
            "v",
            "floats, mpf or arb",
            type(wrong).__name__,
        )


@pytest.mark.parametrize("kind", [float, mpmath.mpf, arb])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_exact_numbers_are_finite(kind: Callable[[str], Any], text: str) -> None:
    refused(lambda: validation.exact_numbers("v", np.array([kind("1"), kind(text)], dtype=object)), "v", "finite numbers")
    refused(lambda: validation.exact_numbers("v", np.array([1.0, float(text)])), "v", "finite numbers")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 2), (0, 0), (2, 2, 2), ()])
def test_a_matrix_is_square(shape: tuple[int, ...]) -> None:
    refused(lambda: validation.matrix("v", np.ones(shape)), "v", "a square matrix", f"shape {shape}")


@pytest.mark.parametrize("kind", [float, mpmath.mpf, arb])
@pytest.mark.parametrize("place", [(0, 1), (0, 2), (1, 2)])
def test_a_matrix_equals_its_transpose_in_every_entry(kind: Callable[[Any], Any], place: tuple[int, int]) -> None:
    A = np.empty((3, 3), dtype=float if kind is float else object)
    for i in range(3):
        for j in range(3):
            A[i, j] = kind(i * j - 2)
    assert np.array_equal(validation.matrix("v", A), A)
    A[place] = A[place] + kind(2.0**-40)
    refused(lambda: validation.matrix("v", A), "v", "a symmetric matrix", f"entries {place} = {A[place]} and {place[::-1]} = ")


def test_balls_are_symmetric_where_they_overlap() -> None:
    def pair(a: Any, b: Any) -> np.ndarray:
        return np.array([[arb(1), a], [b, arb(1, 0.5)]], dtype=object)

    for a, b in ((arb(1, 0.5), arb(2, 0.5)), (arb(2), 2.0), (2.0, arb(2)), (mpmath.mpf(2), 2)):
        assert validation.matrix("v", pair(a, b)).shape == (2, 2)
    for a, b in ((arb(1, 0.25), arb(2, 0.5)), (arb(2, 0.5), 2.0), (2.0, arb(2, 0.5))):  # a ball is not the number within
        refused(partial(validation.matrix, "v", pair(a, b)), "v", "a symmetric matrix")
