"""A plan in words: its tables and sentences on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nntk.planning.numbers import Alternative, Cost, Mode, Plan, Request, Size
from nntk.reporting.terminal import text

__all__ = ["outcome", "say", "show"]

_MOST_ROWS = 12


def say(out: Console, words: str) -> None:
    """Print a line."""
    out.print(text(words, out))


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with numbers to the right; one without column titles holds names, values and remarks."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=any(columns))
    for k, column in enumerate(columns):
        table.add_column(text(column, out), justify="right" if any(columns) and k else "left")
    for row in rows:
        table.add_row(*(text(cell, out) for cell in row))
    out.print()
    say(out, title)
    out.print(table)


def show(out: Console, made: Plan) -> None:
    """Print a plan: its tables, and what follows from them."""
    request = made.request
    at_rate = f"≥ {_percent(request.rate)} a step"
    law = "" if request.law == Request.law else f", c {request.law}"
    _table(out, f"Regularization ({request.activation}{law}, β = {request.beta:g})", ("", "", ""), _regularization(made))
    _table(out, "Width from which the damped Hessian is positive definite", ("", "", ""), _width(made))
    columns = ("mode", "eigenvalue λ", at_rate, "Newton", "gradient descent")
    _table(out, "Half-lives of the error in steps, in the limit of infinite width", columns, _mode_rows(made.spectrum.modes))
    _table(out, "Steps until every mode of the error has fallen to a thousandth", ("", "", ""), _step_rows(made))
    if made.cost is not None:
        _table(out, f"One exact Newton step at N = {_width_text(made.widths.planned)}", ("", "", ""), _cost_rows(made))
    if made.alternatives is not None:
        titles = ("γ", "guaranteed width", f"modes at {at_rate}", "slowest half-life")
        rows = [_alternative_row(other, made.points) for other in made.alternatives.others]
        _table(out, "Other regularizations, Newton", titles, rows)
    out.print()
    for line in _conclusion(made):
        say(out, line)


def _percent(rate: float) -> str:
    return f"{100 * rate:.6g} %"


def _gamma_text(gamma: Size) -> str:
    """As it can be typed: 0.05, 1e-8, 1.66e-16."""
    if gamma.value is None:
        return gamma.text()
    mantissa, _, exponent = f"{gamma.value:.2e}".partition("e")
    if -3 < int(exponent) < 4:
        return f"{gamma.value:.3g}"
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _width_text(width: Size | None) -> str:
    return "none" if width is None else width.text(2, up=True)


def _regularization(made: Plan) -> list[tuple[str, str, str]]:
    known = "enclosed" if made.spectrum.proved else "estimated, not proved"
    rate = _percent(made.request.rate)
    asked = made.request.gamma is not None
    remark = "as asked for" if asked else f"λ_M(1-ρ)/ρ, the largest at which every mode shrinks by at least {rate} a step"
    return [
        ("largest eigenvalue λ₁ of the limit NTK", made.spectrum.largest_eigenvalue, known),
        ("smallest eigenvalue λ_M", made.spectrum.smallest_eigenvalue, known),
        ("condition number λ₁/λ_M", made.spectrum.condition.text(), ""),
        ("γ", made.spectrum.gamma.text() if made.spectrum.gamma.value is None else repr(made.spectrum.gamma.value), remark),
    ]


def _width(made: Plan) -> list[tuple[str, str, str]]:
    seen, request, largest_c = made.widths.observation, made.request, made.widths.largest_c
    if made.widths.rho is None:
        unbounded = f"σ' or σ'' of {request.activation}" if largest_c is not None else f"c under the law {request.law}"
        rows = [("guaranteed", "none", f"{unbounded} is unbounded")]
    else:
        remark = f"as long as all |c| ≤ {largest_c:g} and the residual is at most |y|"
        rows = [("guaranteed", _width_text(made.widths.guaranteed), remark)]
    if seen.looked_up_to == 0:
        return [*rows, ("first observed", "not looked", seen.reason)]
    if seen.sufficient is not None:
        remark = f"from its own residual and parameters, at N = {seen.looked_up_to:,}"
        rows.append(("same bound, a sampled network", _width_text(seen.sufficient), remark))
    if seen.first is None:
        rows.append(("first observed", "none", f"no sampled network up to N = {seen.looked_up_to:,} was certified"))
        if seen.smallest_gamma is not None:
            rows.append(("smallest γ at that width", f"{seen.smallest_gamma:.3g}", "certified for the sampled network"))
    else:
        also = f"; so are {seen.also_definite} of {seen.further_draws} other draws" if seen.further_draws else ""
        rows.append(("first observed", f"{seen.first:,}", f"a sampled network, certified at initialization{also}"))
    if seen.reason:
        rows.append(("", "", f"looked up to N = {seen.looked_up_to:,} only: {seen.reason}"))
    return rows


def _mode_rows(modes: Sequence[Mode]) -> list[tuple[str, ...]]:
    """First, last, and others spread between, a dozen at most."""
    chosen = sorted({round(k) for k in np.linspace(0, len(modes) - 1, min(len(modes), _MOST_ROWS))})
    shown = [modes[k] for k in chosen]
    return [
        (str(m.number), m.eigenvalue.text(), "yes" if m.meets_rate else "no", m.newton.text(), m.gradient_descent.text())
        for m in shown
    ]


def _step_rows(made: Plan) -> list[tuple[str, str, str]]:
    scale = f"N^{2 * made.request.beta - 1:.3g}"
    rate = made.spectrum.best_rate.text()
    best = f"at its best rate 2/(λ₁+λ_M) = {rate} (times {scale}), where modes 1 and M are the slowest, alike"
    return [
        ("Newton", made.spectrum.newton_steps.text(), "at α = 1"),
        ("gradient descent", made.spectrum.gradient_descent_steps.text(), best),
        ("", "", f"stable below 2/λ₁ = {made.spectrum.stable_rate.text()}, at which mode 1 would not decay"),
    ]


def _fits(cost: Cost) -> bool:
    return (cost.bytes.log10 or 0.0) <= math.log10(cost.machine_bytes)


def _cost_rows(made: Plan) -> list[tuple[str, str, str]]:
    cost = made.cost
    assert cost is not None
    impossible = "" if _fits(cost) else " (not possible)"
    machine = _bytes(Size(cost.machine_bytes, math.log10(cost.machine_bytes)))
    rows = [("memory", _bytes(cost.bytes) + impossible, f"this machine has {machine}")]
    if cost.seconds is None:
        return [*rows, ("time", "unknown", f"no step could be timed at N = {cost.measured_width:,}")]
    measured = made.widths.planned is not None and made.widths.planned.value == cost.measured_width
    threads = torch.get_num_threads()
    how = "measured" if measured else f"extrapolated from {cost.measured_seconds:.3g} s at N = {cost.measured_width:,}"
    return [*rows, ("time", f"{cost.seconds.text()} s{impossible}", f"{how} ({threads} thread{'s' * (threads > 1)})")]


def _bytes(size: Size) -> str:
    for unit, log10 in (("kB", 3), ("MB", 6), ("GB", 9), ("TB", 12)):
        if size.value is not None and size.value < 10 ** (log10 + 3):
            return f"{size.value / 10**log10:.3g} {unit}"
    return f"{size.text()} bytes"


def _alternative_row(other: Alternative, points: int) -> tuple[str, ...]:
    met = f"{other.modes_at_rate} of {points}"
    return _gamma_text(other.gamma), _width_text(other.guaranteed_width), met, other.slowest_half_life.text()


def _conclusion(made: Plan) -> list[str]:
    lines = [outcome(made)]
    if made.alternatives is not None and made.alternatives.suggestion is not None:
        lines.append(_instead(made.alternatives.suggestion, made.alternatives.suggestion_cost, made))
    width = made.widths.planned if made.widths.feasible else Size.of(made.request.largest_width)
    largest_c = made.widths.largest_c
    c = "" if largest_c is None else f"|c| ≤ {largest_c:g} and "
    lines.append(
        "What the limit leaves open: a network of width N deviates from it by an order of N^-min(β-1/2, 1-β), "
        f"{made.widths.deviation.text(2)} at N = {_width_text(width)}, with constants that grow with 1/γ; and its parameters "
        f"move by an order of N^-(1-β)/γ, so that {c}a residual of at most |y| "
        f"{'are assumptions' if c else 'is an assumption'} about a training, not {'results' if c else 'a result'}."
    )
    return lines


def outcome(made: Plan) -> str:
    """Is the plan feasible, and in which sense? In a sentence."""
    seen, rate = made.widths.observation, _percent(made.request.rate)
    met = sum(m.meets_rate for m in made.spectrum.modes)
    which = "every mode shrinks" if met == made.points else f"{met} of {made.points} modes shrink"
    share = f"in the limit {which} by at least {rate} a step"
    gamma, guaranteed = _gamma_text(made.spectrum.gamma), _width_text(made.widths.guaranteed)
    needs = "no width is guaranteed" if made.widths.guaranteed is None else f"the guarantee needs {guaranteed} neurons"
    largest = f"largest width: {made.request.largest_width:,}"
    if made.widths.feasible and made.widths.planned == made.widths.guaranteed:
        fits = "" if made.cost is None or _fits(made.cost) else " This machine's memory is too small for it."
        return f"Feasible: γ = {gamma} with {guaranteed} neurons; {share}.{fits}"
    if made.widths.feasible:
        return (
            f"Feasible as far as was seen, without guarantee: at γ = {gamma} {needs} ({largest}), but a sampled network of "
            f"{seen.first:,} is positive definite at initialization, and so are {seen.also_definite} of {seen.further_draws} "
            f"other draws; {share}."
        )
    return (
        f"Not feasible: at γ = {gamma} {needs} ({largest}), and no sampled network up to N = {seen.looked_up_to:,} was "
        "certified positive definite."
    )


def _instead(other: Alternative, cost: Cost | None, made: Plan) -> str:
    met, rate = other.modes_at_rate, _percent(made.request.rate)
    time_there = f", {cost.seconds.text()} s" if cost is not None and cost.seconds is not None else ""
    price = f" ({_bytes(cost.bytes)}{time_there} a step)" if cost is not None else ""
    text = (
        f"With γ = {_gamma_text(other.gamma)} instead the guarantee needs {_width_text(other.guaranteed_width)} neurons{price}"
    )
    if other.next_half_life is None:
        return f"{text}, and every mode still shrinks by at least {rate} a step."
    which = "no mode shrinks" if met == 0 else "only mode 1 shrinks" if met == 1 else f"only modes 1 to {met} shrink"
    slowest = (
        f"the slowest {other.slowest_half_life.text()} (gradient descent: {made.spectrum.modes[-1].gradient_descent.text()})"
    )
    next_one = f"mode {met + 1} has a half-life of {other.next_half_life.text()} steps, {slowest}"
    return f"{text}, but {which} by at least {rate} a step; {next_one}."
