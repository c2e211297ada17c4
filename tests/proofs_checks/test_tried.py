"""Which activations the claims try: today's, and one that is registered later."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import nntk_accelerated
import nntk_reference
from nntk_proofs_checks import Effort, certify, indefinite, one_step, push_through, tried, update_bound
from nntk_proofs_checks.tried import of_networks, of_spectral_decay, with_limit_kernel
from nntk_reference import ACTIVATIONS, Verdict, activation
from tests.proofs_checks.problems import line

THEORY = ("tanh", "erf", "sin", "logistic", "softplus", "gelu")


def test_today() -> None:
    assert [with_limit_kernel(effort) for effort in Effort] == [("tanh",), ("tanh", "erf", "sin"), THEORY]
    assert [of_spectral_decay(effort) for effort in Effort] == [
        ("erf", "sin", "tanh"),
        ("erf", "sin", "tanh"),
        ("erf", "sin", "tanh", "logistic"),
    ]
    assert [of_networks(effort) for effort in Effort] == [("tanh",), ("tanh", "sin", "gelu"), THEORY]


@pytest.mark.parametrize("choice", [with_limit_kernel, of_spectral_decay, of_networks])
def test_a_greater_effort_leaves_nothing_out(choice) -> None:
    quick, default, full = (set(choice(effort)) for effort in Effort)
    assert quick
    assert quick <= default <= full <= {name for name, entry in ACTIVATIONS.items() if entry.in_theory}


def test_what_the_limit_checks_try_is_enclosed() -> None:
    for effort in Effort:
        assert all(activation(name).enclosed for name in with_limit_kernel(effort))
        assert all(activation(name).bounded for name in of_spectral_decay(effort))


@pytest.mark.parametrize(
    ("count", "names", "wanted"),
    [
        (1, "abcdef", "a"),
        (2, "abcdef", "af"),
        (4, "abcdefg", "aceg"),
        (3, "abcdef", "acf"),
        (3, "abcdefg", "adg"),
        (3, "abc", "abc"),
        (3, "ab", "ab"),
        (3, "a", "a"),
    ],
)
def test_spread(count: int, names: str, wanted: str) -> None:
    assert tried._spread(tuple(names), count) == tuple(wanted)


def test_the_law_is_the_papers() -> None:
    assert nntk_reference.InitialLaw() == tried.LAW
    assert tried.LAW.output.symmetric
    assert tried.ACTIVATION == with_limit_kernel(Effort.QUICK)[0] == of_networks(Effort.QUICK)[0]


# ------------------------------------------------------------------------------------------------------------ one that is new


def _jets(z: Tensor, order: int) -> tuple[Tensor, ...]:
    s = torch.sigmoid(z)
    slope = s + z * s * (1 - s)
    return (z * s, slope, s * (1 - s) * (2 + z * (1 - 2 * s)))[: order + 1]


@pytest.fixture
def new(registries: None) -> Iterator[str]:
    """z·logistic(z), registered in both packages for one test."""
    logistic = activation("logistic")

    def jets(z, ar):
        s, slope, curvature = logistic.jets(z, ar)
        return z * s, s + z * slope, 2 * slope + z * curvature

    def bound(y, ar):  # |z| ≤ |x| + y
        size = logistic.strip.bound(y, ar)[0]
        return y * size, size

    nntk_reference.register(
        nntk_reference.Activation(
            "new",
            jets,
            lambda ar: (math.inf, ar.number(1.1), ar.number(0.5)),
            strip=nntk_reference.Strip(math.pi, bound),
        )
    )
    nntk_accelerated.register(
        nntk_accelerated.Activation("new", lambda z: z * torch.sigmoid(z), _jets, lambda t: (t, 1.1, 0.5, 0.5))
    )
    certify.cache_clear()
    yield "new"
    certify.cache_clear()


def test_a_new_activation_is_tried_where_it_fits(new: str) -> None:
    """Unbounded, on a strip: by claims about limit kernels at full effort, by those about networks from default effort on."""
    assert [new in with_limit_kernel(effort) for effort in Effort] == [False, False, True]
    assert [new in of_spectral_decay(effort) for effort in Effort] == [False, False, False]
    assert [new in of_networks(effort) for effort in Effort] == [False, True, True]


def test_an_activation_of_one_package_is_not_tried_on_networks(new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(nntk_accelerated.ACTIVATIONS, new)
    assert new not in of_networks(Effort.FULL)
    assert new in with_limit_kernel(Effort.FULL)


@pytest.mark.parametrize("effort", [Effort.QUICK, Effort.DEFAULT])
def test_claims_about_networks_hold_for_it(new: str, effort: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for module in (push_through, indefinite, update_bound):
        original = module.sample_network

        def drawn(*args, activation="tanh", original=original, **kwargs):
            seen.add((original.__module__, activation))
            return original(*args, activation=activation, **kwargs)

        monkeypatch.setattr(module, "sample_network", drawn)
        seen.clear()
        check = {push_through: push_through._accelerated, indefinite: indefinite.check, update_bound: update_bound._small}[
            module
        ]
        finding = check(line(4), effort)
        assert finding.verdict is Verdict.HOLDS, finding.why
        names = {name for _, name in seen}
        assert names == set(of_networks(Effort.FULL if module is push_through else effort))


def test_a_claim_about_limit_kernels_holds_for_it(new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_step, "GRIDS", dict.fromkeys(Effort, ()))
    monkeypatch.setattr(one_step, "with_limit_kernel", lambda effort: with_limit_kernel(effort)[-1:])
    finding = one_step.CLAIM.check(line(3), Effort.FULL)
    assert finding.verdict is Verdict.HOLDS, finding.why
    assert new in finding.why
