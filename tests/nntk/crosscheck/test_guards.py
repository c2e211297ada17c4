"""What keeps an optimizer from harming the run."""

from __future__ import annotations

import threading
import time
import warnings

import numpy as np
import pytest
import torch

from nntk.crosscheck import check_optimizer
from nntk.crosscheck.guards import OutOfTime, Output, Told, first_call, guarded, notes, tell_first_calls, time_limit
from tests.nntk import optimizers


def test_global_state_is_restored() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    for id in ("seeds_torch", "sets_default_dtype", "sets_threads"):
        check_optimizer(optimizers.FAULTS[id].factory, effort="quick", only=["no-side-effects"], diagnose=False)
    after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_guarded_puts_back_what_is_changed_in_it() -> None:
    before = torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), torch.initial_seed()
    state = torch.get_rng_state()
    with guarded():
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        np.seterr(all="ignore")
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
    assert before == (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), torch.initial_seed())
    assert torch.equal(state, torch.get_rng_state())


def test_the_time_limit_ends_what_catches_every_exception() -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    begin = time.perf_counter()
    with pytest.raises(OutOfTime), time_limit(0.05):
        stubborn()
    assert time.perf_counter() - begin < 5


def test_no_alarm_is_left_after_the_time_limit() -> None:
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_output_is_kept_and_told_in_short(capfd: pytest.CaptureFixture[str]) -> None:
    output = Output()
    with output.captured():
        print("one")
        print("two")
        warnings.warn("odd\x1b", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")
    assert notes([output.told()]) == ["prints: 'one' and 1 line more", r"warns: UserWarning: odd\x1b"]


def test_pieces_of_the_work_are_noted_together_each_thing_once() -> None:
    one = Told(imported=("hello", 1), printed=("", 0), warned=("a",), threads=("t",))
    two = Told(imported=("hello", 1), printed=("step", 3), warned=("a", "b"), threads=("t",))
    said = ["prints at import: 'hello'", "prints: 'step' and 2 lines more", "warns: a", "warns: b", "starts threads: t"]
    assert notes([one, two]) == said
    assert notes([]) == notes([Told()]) == []


def test_first_calls_do_not_count_until_their_allowance_is_spent() -> None:
    told: list[bool] = []
    tell_first_calls(told.append)
    try:
        with time_limit(0.2, first_calls=4.0):
            for _ in range(2):
                with first_call():
                    time.sleep(0.25)
        with pytest.raises(OutOfTime), time_limit(0.2, first_calls=2.0), first_call():
            time.sleep(10)
        with pytest.raises(OutOfTime), time_limit(0.2, first_calls=4.0):
            _first_call_and(10)
    finally:
        tell_first_calls(lambda begins: None)
    assert told == [True, False] * 4
    with first_call():  # no limit is at work: nothing to stop
        pass


def _first_call_and(seconds: float) -> None:
    with first_call():
        time.sleep(0.25)
    time.sleep(seconds)


def test_threads_that_end_are_not_told() -> None:
    output, stay = Output(), threading.Event()
    with output.watched():
        threading.Thread(target=stay.wait, name="stays").start()
        passing = threading.Thread(target=lambda: None, name="ends")
        passing.start()
        passing.join()
    stay.set()
    assert output.told().threads == ("stays",)
