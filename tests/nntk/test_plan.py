"""The plan: its numbers against independent computations, both sides of its bounds, its report, refusals and exit codes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from flint import arb, ctx
from typer.testing import CliRunner, Result

import nntk.plan
import nntk_accelerated
import nntk_reference
from nntk.cli import app
from nntk.plan import Plan, Request, Size, check, make_plan
from nntk_proofs_checks import Problem
from nntk_reference import (
    Ball,
    DegenerateKernelError,
    InputError,
    Multiprecision,
    PrecisionError,
    UnknownActivationError,
    contraction_factors,
    limit_spectrum,
)

MP = mpmath.MPContext()
MP.dps = 60
TWO = Problem(np.array([[0.0], [1.0]]), np.array([1.0, -2.0]), "two points")
SIX = Problem(np.linspace(-1, 1, 6)[:, None], np.array([1.0, 0, 2, 0, 1, 3]), "six points")


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk.plan, "_TIMED_WIDTH", 256)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def invoke(*args: str, rows: str = "x,y\n0,1\n1,-2\n") -> Result:
        path = tmp_path / "points.csv"
        path.write_text(rows)
        command = ["plan", "--data", str(path), "--activation", "erf", "--largest-width", "64", *args]
        return CliRunner().invoke(app, command, env={"NO_COLOR": "1"})

    return invoke


def two_point_spectrum() -> tuple[Any, Any]:
    """Eigenvalues of (E9) for erf at x = 0 and 1, from the closed forms of the docstring of the design, in mpmath."""
    X = [(0, 1), (1, 1)]

    def entry(x: tuple[int, int], z: tuple[int, int]) -> Any:
        a, a2, b = (MP.mpf(u[0] * v[0] + u[1] * v[1]) for u, v in ((x, x), (z, z), (x, z)))
        s = (1 + 2 * a) * (1 + 2 * a2)
        return (2 / MP.pi * MP.asin(2 * b / MP.sqrt(s)) + 4 / MP.pi / MP.sqrt(s - 4 * b * b) * b / 3) / 2

    p, q, r = entry(X[0], X[0]), entry(X[1], X[1]), entry(X[0], X[1])
    root = MP.sqrt((p - q) ** 2 + 4 * r * r)
    return (p + q + root) / 2, (p + q - root) / 2


def close(size: Size, value: Any, digits: int = 13) -> None:
    assert size.value is not None
    assert abs(size.value - value) <= MP.mpf(10) ** -digits * abs(value)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_two_points_against_closed_forms() -> None:
    plan = make_plan(TWO, Request(activation="erf", rate=0.25, largest_width=8))
    top, bottom = two_point_spectrum()
    close(plan.modes[0].eigenvalue, top)
    close(plan.modes[1].eigenvalue, bottom)
    close(plan.condition, top / bottom)
    close(plan.gamma, 3 * bottom)
    close(plan.stable_rate, 2 / top)
    close(plan.best_rate, 2 / (top + bottom))
    # the two extreme modes of gradient descent's best rate are the same
    factor = (top - bottom) / (top + bottom)
    for mode in plan.modes:
        close(mode.gradient_descent, MP.log(2) / -MP.log(factor))
    gamma = MP.mpf(plan.gamma.value)
    for mode, value in zip(plan.modes, (top, bottom), strict=True):
        close(mode.newton, MP.log(2) / -MP.log(1 - value / (gamma + value)))
    assert plan.newton_steps.value == MP.ceil(MP.log(1000) / -MP.log(gamma / (gamma + bottom)))
    assert plan.gradient_descent_steps.value == MP.ceil(MP.log(1000) / -MP.log(factor))


def test_the_bound_on_the_width_by_hand() -> None:
    plan = make_plan(TWO, Request(activation="erf", gamma=0.5, beta=0.6, largest_width=8))
    s, K = 2 / MP.sqrt(MP.pi), MP.sqrt(8 / (MP.pi * MP.e))
    h2 = [((K * q2 + MP.sqrt((K * q2) ** 2 + 4 * s * s * q2)) / 2) ** 2 for q2 in (1, 2)]
    rho = MP.sqrt(5 * sum(h2)) / 2
    assert plan.rho is not None
    close(plan.rho, rho)
    assert plan.guaranteed_width is not None
    assert plan.guaranteed_width.value == MP.floor((rho / MP.mpf(0.5)) ** (1 / (1 - MP.mpf(0.6)))) + 1


@pytest.mark.parametrize("activation", ["tanh", "erf", "sin", "logistic", "softplus", "gelu"])
def test_modes_agree_with_the_reference(activation: str) -> None:
    plan = make_plan(SIX, Request(activation=activation, rate=0.9, largest_width=4))
    assert plan.gamma.value is not None
    assert plan.best_rate.value is not None
    arithmetic = Multiprecision(40)
    ours = contraction_factors(SIX.X, plan.gamma.value, activation, arithmetic, rate=plan.best_rate.value)
    for k, mode in enumerate(plan.modes):
        close(mode.eigenvalue, ours.eigenvalues[k])
        close(mode.newton, MP.log(2) / -MP.log(ours.newton[k]), 12)
        if 0 < k < len(plan.modes) - 1:  # the ends turn on the last digits of the rate, here rounded to float64
            close(mode.gradient_descent, MP.log(2) / -MP.log(abs(ours.gradient_descent[k])), 10)
        assert mode.meets_rate == (1 - ours.newton[k] >= MP.mpf(0.9))
    # the ends: 1 - (λ₁-λ_M)/(λ₁+λ_M) from the eigenvalues, to forty digits
    top, bottom = ours.eigenvalues[0], ours.eigenvalues[-1]
    for mode in (plan.modes[0], plan.modes[-1]):
        close(mode.gradient_descent, MP.log(2) / -MP.log1p(-2 * bottom / (top + bottom)), 12)


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_gamma_lies_just_inside_the_rate(rate: float) -> None:
    plan = make_plan(SIX, Request(activation="erf", rate=rate, largest_width=1))
    assert all(mode.meets_rate for mode in plan.modes)
    smallest = limit_spectrum(SIX.X, "erf", Ball(200))[-1]
    assert plan.gamma.value is not None
    with ctx.workprec(200):
        gamma = arb(plan.gamma.value)
        assert smallest / (gamma + smallest) > rate
        outside = gamma * (1 + arb(2) ** -50)
        assert smallest / (outside + smallest) < rate
    beyond = make_plan(SIX, Request(activation="erf", rate=rate, gamma=plan.gamma.value * (1 + 2.0**-50), largest_width=1))
    assert [mode.meets_rate for mode in beyond.modes] == [True] * 5 + [False]


def nearby(problem: Problem, width: int, seed: int) -> tuple[nntk_accelerated.ShallowNet, torch.Tensor, torch.Tensor, float]:
    """A sampled network, and targets at which its residual is exactly as large as the data's |y|."""
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    generator = torch.Generator().manual_seed(seed)
    net = nntk_accelerated.ShallowNet(width, X.shape[1], beta=0.75, generator=generator)
    f = nntk_accelerated.outputs(net, X)
    return net, X, f - y, float(y.norm())


@pytest.mark.parametrize("seed", range(6))
def test_a_guaranteed_width_is_certified(seed: int) -> None:
    plan = make_plan(SIX, Request(gamma=0.4, largest_width=10_000))
    assert plan.guaranteed_width is not None
    width = plan.guaranteed_width.value
    assert isinstance(width, int)
    assert 1000 < width < 10_000
    net, X, y, size = nearby(SIX, width, seed)
    assert float((nntk_accelerated.outputs(net, X) - y).norm()) <= size * (1 + 1e-12)
    assert float(net.c.detach().abs().max()) <= 1
    assert nntk_accelerated.inertia(net, X, y, 0.4).certificate.verdict == "positive definite"
    assert nntk_accelerated.sufficient_gamma(net, X, y) <= 0.4
    # far below the width the same networks are not: the certificate can fail
    net, X, y, _ = nearby(SIX, 200, seed)
    assert nntk_accelerated.inertia(net, X, y, 0.05).certificate.verdict == "indefinite"


def test_the_bound_covers_the_worst_neuron() -> None:
    """No network with |c| ≤ 1 and no residual of norm |y| has a larger (1/M)Σ|r|h, and some come near."""
    plan = make_plan(SIX, Request(gamma=1.0, largest_width=1))
    assert plan.rho is not None
    assert plan.rho.value is not None
    rng = np.random.default_rng(0)
    q2 = (SIX.X**2).sum(1) + 1
    z = np.linspace(-4, 4, 2001)[:, None]
    s, K = 1 - np.tanh(z) ** 2, np.abs(2 * np.tanh(z) * (1 - np.tanh(z) ** 2))
    h = (K * q2 + np.sqrt((K * q2) ** 2 + 4 * s * s * q2)) / 2  # every point at the same z: more than any one neuron can do
    best = 0.0
    for _ in range(200):
        r = np.abs(rng.standard_normal(6))
        best = max(best, float((h @ r).max() / 6 * np.linalg.norm(SIX.y) / np.linalg.norm(r)))
    assert 0.5 * plan.rho.value < best <= plan.rho.value


def test_sampled_bound_is_that_of_the_accelerated_package() -> None:
    plan = make_plan(SIX, Request(gamma=0.5, largest_width=64, seed=3))
    X, y = torch.tensor(SIX.X), torch.tensor(SIX.y)
    seen = plan.observation
    found = nntk_accelerated.required_width(
        lambda N: nntk_accelerated.ShallowNet(N, 1, beta=0.75, generator=torch.Generator().manual_seed(3)),
        X,
        y,
        0.5,
        largest=64,
    )
    assert seen.first == found.first
    assert seen.verdicts == found.observed
    assert seen.sufficient is not None
    assert seen.sufficient.value == math.floor(found.sufficient) + 1


def test_memory_against_what_a_step_leaves() -> None:
    plan = make_plan(SIX, Request(gamma=0.4, largest_width=10_000))
    cost, other = plan.cost, make_plan(SIX, Request(gamma=150.0, largest_width=10_000)).cost
    assert other is not None
    assert other.measured_width == 1  # narrow enough to be measured as it is
    assert cost is not None
    assert cost.bytes.value is not None
    assert cost.measured_seconds is not None
    assert cost.seconds is not None
    N, p, M = plan.planned_width.value, 3, 6  # type: ignore[union-attr]
    assert N is not None
    parameters, update, blocks, bounds = N * p, N * p, N * (2 + 3), N
    assert cost.bytes.value == 8 * (parameters + update + blocks + bounds) + N + 8 * M * M * (torch.get_num_threads() + 3)
    assert cost.measured_width == 256
    assert cost.seconds.value == pytest.approx(cost.measured_seconds * N / 256)


# --- out of reach ----------------------------------------------------------------------------------------------------


def test_a_width_beyond_float64() -> None:
    plan = make_plan(SIX, Request(activation="erf", gamma=1e-8, beta=0.98, largest_width=64))
    width = plan.guaranteed_width
    assert width is not None
    assert width.value is None
    assert width.log10 is not None
    assert plan.rho is not None
    assert plan.rho.log10 is not None
    assert width.log10 == pytest.approx((plan.rho.log10 + 8) / 0.02, rel=1e-12)
    assert width.log10 > 400
    assert re.fullmatch(r"\d\.\d·10\^4\d\d", width.text(2, up=True))
    assert not plan.feasible
    assert plan.suggestion is not None
    assert plan.suggestion.guaranteed_width is not None
    assert plan.suggestion.guaranteed_width.value is not None
    assert plan.suggestion.guaranteed_width.value <= 64
    assert 1 <= len(plan.alternatives) <= 6
    assert plan.alternatives[-1].gamma == plan.gamma
    gammas = [a.gamma.log10 for a in plan.alternatives]
    assert gammas == sorted(gammas, reverse=True, key=float)  # type: ignore[arg-type]
    json.dumps(asdict(plan), allow_nan=False)


def test_a_gamma_below_float64() -> None:
    """Inputs 10^-100 apart: λ_min near 10^-400, and everything in logarithms."""
    X = np.array([[0.0], [1e-100], [2e-100]])
    plan = make_plan(Problem(X, np.ones(3), "close"), Request(activation="sin", largest_width=64))
    assert plan.gamma.value is None
    assert plan.gamma.log10 is not None
    assert plan.gamma.log10 < -308
    assert plan.observation.looked_up_to == 0
    assert plan.observation.reason
    assert all(mode.meets_rate for mode in plan.modes)
    assert not plan.feasible
    json.dumps(asdict(plan), allow_nan=False)


def test_unbounded_derivatives_have_no_guaranteed_width() -> None:
    plan = make_plan(SIX, Request(activation="relu", largest_width=64))
    assert plan.rho is None
    assert plan.guaranteed_width is None
    assert plan.suggestion is None
    assert plan.observation.first is None  # relu's kink is never certified
    assert not plan.feasible


def test_an_estimated_spectrum_says_so(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]) -> None:
    plain = replace(nntk_reference.ACTIVATIONS["erf"], name="plain", moments=None, strip=None)
    monkeypatch.setitem(nntk_reference.ACTIVATIONS, "plain", plain)
    monkeypatch.setitem(nntk_accelerated.ACTIVATIONS, "plain", replace(nntk_accelerated.ACTIVATIONS["erf"], name="plain"))
    result = run("--activation", "plain")
    assert result.stdout.count("estimated, not proved") == 2
    assert "enclosed" not in result.stdout
    assert "enclosed" in run().stdout
    estimated, enclosed = (make_plan(TWO, Request(activation=a, largest_width=2)) for a in ("plain", "erf"))
    assert not estimated.proved
    close(estimated.modes[1].eigenvalue, enclosed.modes[1].eigenvalue.value)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "start"),
    [
        (["--gamma", "10", "--largest-width", "1000"], 0, "Feasible: "),
        (["--gamma", "0.5", "--largest-width", "500"], 0, "Feasible as far as was seen, without guarantee: "),
        (["--gamma", "1e-9"], 1, "Not feasible: "),
        (["--activation", "relu"], 1, "Not feasible: "),
    ],
)
def test_exit_codes(run: Callable[..., Result], options: list[str], code: int, start: str) -> None:
    result = run(*options)
    assert result.exit_code == code
    (outcome,) = (line for line in result.stdout.splitlines() if "easible" in line)
    assert outcome.startswith(start)
    assert "What the limit leaves open" in result.stdout
    assert "\x1b" not in result.stdout


def test_report_holds_the_numbers_of_the_terminal(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    result = run("--json", str(path), rows="".join(f"{k / 7},{k % 3}\n" for k in range(14)))
    assert result.exit_code == 1
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["version"] == nntk.__version__
    assert report["points"] == len(report["modes"]) == 14
    text = result.stdout
    assert report["smallest_eigenvalue"] == report["modes"][-1]["enclosure"]
    assert report["smallest_eigenvalue"] in text
    assert repr(report["gamma"]["value"]) in text
    table = text[text.index("Half-lives") : text.index("Steps until")].splitlines()[2:-1]
    assert 2 <= len(table) <= 12
    assert table[0].split()[0] == "1"
    assert table[-1].split()[0] == "14"
    for line in table:
        number, *cells = line.split()
        mode = report["modes"][int(number) - 1]
        sizes = [Size(**mode[name]).text() for name in ("eigenvalue", "newton", "gradient_descent")]
        assert cells == [sizes[0], "yes" if mode["meets_rate"] else "no", *sizes[1:]]
    guaranteed = Size(**report["guaranteed_width"]).text(2, up=True)
    assert f"\nguaranteed{' ' * 21}{guaranteed} " in text
    assert f"needs {guaranteed} neurons" in text
    for other in report["alternatives"]:
        met = f"{other['modes_at_rate']} of 14"
        slowest = Size(**other["slowest_half_life"]).text()
        assert re.search(rf"{re.escape(met)} +{re.escape(slowest)}", text)


def test_output_that_knows_only_ascii(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("0,1\n1,-2\n")
    command = ["plan", "--data", str(path), "--activation", "erf", "--largest-width", "8"]
    result = CliRunner(charset="ascii").invoke(app, command)
    assert result.exit_code == 1
    assert result.stdout.isascii()
    assert "\\u" not in result.stdout
    assert "\\x" not in result.stdout


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
        (["--activation", "tahn"], "", "got 'tahn' (did you mean 'tanh'?)"),
        (["--json", "/no/such/folder/plan.json"], "", "--json: expected a file that can be written"),
        ([], "x,y\n0,1\n", "expected at least 2 points, got 1"),
        (
            [],
            "x,y\n0,1\n1,2\n0,3\n",
            "got equal points 1 and 3 (counted from 1): λ_min of the limit NTK is exactly 0; no γ > 0",
        ),
        ([], "x,y\n0,1\n1,2\n0,1\n", "their targets agree, so keep one of each"),
        ([], "x,y\n0,1\n1,1e51\n", "expected numbers of at most 1e+50 in size, got a larger one: rescale the data"),
        ([], "x,y\n0,0\n1,0\n", "expected a target that is not 0, got 2 zeros"),
        ([], "".join(f"{k},1\n" for k in range(97)), "expected at most 96 points"),
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
    monkeypatch.setattr(nntk.plan, "_spectrum", None)
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


def test_a_singular_kernel_is_named() -> None:
    with pytest.raises(PrecisionError, match="the kernel of 'square' on them is singular"):
        make_plan(SIX, Request(activation="square", largest_width=1))


def test_report_may_not_replace_the_data(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("--json", str(tmp_path / "points.csv"))
    assert result.exit_code == 2
    assert "a file other than" in result.stderr
    assert (tmp_path / "points.csv").read_text().startswith("x,y\n0,1")


def test_interruption(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any) -> Plan:
        raise KeyboardInterrupt

    monkeypatch.setattr(nntk.plan, "_spectrum", stop)
    result = run()
    assert result.exit_code == 130
    assert result.stderr.endswith("nntk: interrupted\n")


def test_looking_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nntk.plan, "_BUDGET", 0.0)
    plan = make_plan(SIX, Request(activation="erf", gamma=1e-6, largest_width=2**15))
    assert plan.observation.looked_up_to == 512
    assert "would take more than" in plan.observation.reason


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text", "up"),
    [
        ("0", "0", "0"),
        ("0.0123456", "0.0123", "1.24·10^-2"),
        ("123456.4", "123,456", "1.24·10^5"),
        ("1e33", "1.00·10^33", "1.00·10^33"),
        ("9.9951e400", "1.00·10^401", "1.00·10^401"),
        ("1.0001e400", "1.00·10^400", "1.01·10^400"),
        ("2.5e-320", "2.50·10^-320", "2.50·10^-320"),
    ],
)
def test_size_as_text(number: str, text: str, up: str) -> None:
    with ctx.workprec(256):
        size = Size.of(arb(number))
    assert size.text() == text
    assert size.text(up=True) == up


def test_whole_sizes_are_not_rounded() -> None:
    assert Size.of(251_922).text(2, up=True) == "251,922"
    assert Size.of(0) == Size(0.0, None)
