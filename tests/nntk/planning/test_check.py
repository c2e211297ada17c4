"""What no plan can be made for is refused before any work, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import Result

import nntk.planning.plan
from nntk.planning.check import check
from nntk.planning.numbers import Request
from nntk.planning.plan import make_plan
from nntk_proofs_checks import Problem
from nntk_reference import (
    ACTIVATIONS,
    LAWS,
    DegenerateKernelError,
    InputError,
    UnknownActivationError,
)

TWO = Problem(np.array([[0.0], [1.0]]), np.array([1.0, -2.0]), "two points")
SIX = Problem(np.linspace(-1, 1, 6)[:, None], np.array([1.0, 0, 2, 0, 1, 3]), "six points")


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        (["--beta", "0.5"], "", "--beta: expected a number between 1/2 and 1, ends excluded, got 0.5"),
        (["--beta", "1"], "", "--beta: expected"),
        (["--beta", "nan"], "", "--beta: expected"),
        (["--rate", "0"], "", "--rate: expected a number between 0 and 1, ends excluded, got 0.0"),
        (["--rate", "1"], "", "--rate: expected"),
        (["--rate", "nan"], "", "--rate: expected"),
        (["--gamma", "0"], "", "--gamma: expected a finite number above 0, got 0.0"),
        (["--gamma", "inf"], "", "--gamma: expected"),
        (["--largest-width", "0"], "", "--largest-width: expected an integer from 1 to 1000000000, got 0"),
        (["--seed", "-1"], "", "--seed: expected an integer from 0"),
        (
            ["--activation", "tahn"],
            "",
            f"--activation: expected one of {', '.join(ACTIVATIONS)}, got 'tahn' (did you mean 'tanh'?)",
        ),
        (["--activation", "xxxx"], "", f"{list(ACTIVATIONS)[-1]}, got 'xxxx'"),
        (["--law", "norml"], "", f"--law: expected one of {', '.join(LAWS)}, got 'norml' (did you mean 'normal'?)"),
        (["--json", "/no/such/folder/plan.json"], "", "--json: expected a file that can be written"),
        ([], "x,y\n0,1\n", "expected at least 2 points, got 1"),
        (
            [],
            "x,y\n0,1\n1,2\n0,3\n",
            "--data: expected distinct inputs, got equal points 1 and 3 (counted from 1): λ_min of the limit NTK is exactly 0; "
            "no γ > 0",
        ),
        ([], "x,y\n0,1\n1,2\n0,1\n", "their targets agree, so keep one of each"),
        ([], "x,y\n0,1\n1,1e51\n", "--data: expected numbers of at most 1e+50 in size, got a larger one: rescale the data"),
        ([], "x,y\n0,0\n1,0\n", "expected a target that is not 0, got 2 zeros"),
        ([], "".join(f"{k},1\n" for k in range(97)), "--data: expected at most 96 points"),
        (["--activation", "tanh"], "x,y\n0,1\n1e4,2\n", "rescale the inputs"),
    ],
)
def test_bad_input_is_one_line(run: Callable[..., Result], options: list[str], rows: str, message: str) -> None:
    result = run(*options, rows=rows or "x,y\n0,1\n1,-2\n")
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("nntk: ")
    assert message in last
    assert "Feasible" not in result.stdout


def test_refusals_come_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk.planning.plan, "_enclosed", None)
    for problem, request, error in (
        (TWO, Request(activation="nope"), UnknownActivationError),
        (TWO, Request(beta=1.0), InputError),
        (TWO, Request(rate=1.5), InputError),
        (Problem(np.zeros((2, 1)), np.ones(2), "equal"), Request(), DegenerateKernelError),
    ):
        with pytest.raises(error):
            make_plan(problem, request)
        with pytest.raises(error):
            check(problem, request)


@pytest.mark.parametrize(
    ("argument", "request_"),
    [
        ("beta", Request(beta=1.0)),
        ("rate", Request(rate=0.0)),
        ("gamma", Request(gamma=-1.0)),
        ("activation", Request(activation="nope")),
        ("law", Request(law="nope")),
        ("largest_width", Request(largest_width=0)),
        ("seed", Request(seed=-1)),
    ],
)
def test_python_is_told_the_argument(argument: str, request_: Request) -> None:
    with pytest.raises(InputError, match=f"^{argument}: expected ") as caught:
        check(TWO, request_)
    assert caught.value.argument == argument
