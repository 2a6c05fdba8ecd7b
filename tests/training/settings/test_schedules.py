from __future__ import annotations

from itertools import pairwise

import pytest

from training.settings.presets import PRESETS
from training.settings.schedules import LearningRateSchedule, PdaSchedule


def test_reference_pda_overshoots_its_floor() -> None:
    pda = PRESETS["reference"].stage1.pda
    assert pda is not None
    assert [pda.gamma(e) for e in range(3)] == [None] * 3
    assert pda.gamma(3) == pytest.approx(0.98**3)
    assert pda.gamma(20) == pytest.approx(0.6676, abs=1e-4)
    assert pda.gamma(22) == pda.gamma(40) == pytest.approx(0.6412, abs=1e-4)


def test_paper_pda_starts_late_and_is_clamped() -> None:
    pda = PRESETS["paper"].stage1.pda
    assert pda is not None
    assert pda.gamma(2) is None
    assert pda.gamma(3) == pytest.approx(0.985)
    assert pda.gamma(100) == 0.65


def test_pda_from_the_first_epoch() -> None:
    assert PdaSchedule(start=0).gamma(0) == pytest.approx(0.985)


def test_step_and_warm_up() -> None:
    schedule = LearningRateSchedule("step", epochs=30, steps_per_epoch=4, lr_step=10, warmup_epochs=1)
    assert [schedule.factor(i) for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert schedule.factor(40) == pytest.approx(0.1)
    assert schedule.factor(10_000) == schedule.factor(119) == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["poly", "cos", "constant"])
def test_schedules_never_rise(name: str) -> None:
    schedule = LearningRateSchedule(name, epochs=3, steps_per_epoch=5)  # type: ignore[arg-type]
    factors = [schedule.factor(i) for i in range(20)]
    assert factors[0] == 1
    assert all(a >= b > 0 for a, b in pairwise(factors))


def test_impossible_schedules() -> None:
    with pytest.raises(ValueError, match="unknown schedule"):
        LearningRateSchedule("up", 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        LearningRateSchedule("cos", 0, 1)
