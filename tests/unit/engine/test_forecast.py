"""The time left, with invented clocks: by tokens and not by updates, corrected as the run goes."""

import numpy as np
import pytest

from septet.engine.forecast import HALF_LIFE, Forecast
from septet.engine.plan import Planner


def planner(lengths, batch=4):
    return Planner(lengths, batch, seed=1, token_budget=512)


def run(forecast, steps, speed, *, start=0.0):
    """Let updates pass at `speed(step)` seconds a token, and return what was said to be left after each."""
    said, gone = [], start
    for step in steps:
        epoch, place = divmod(step - 1, forecast.planner.groups_per_epoch)
        tokens = int(forecast.planner.tokens_by_group(epoch)[place])
        gone += tokens * speed(step)
        said.append(forecast.step(step, tokens=tokens, seconds=tokens * speed(step), gone_s=gone))
    return said


def test_what_is_left_is_counted_in_tokens():
    p = planner([1] * 20 + [99] * 20)
    assert p.tokens_by_group(0).sum() == 2000
    forecast = Forecast(p, total=25, evaluate_every=10)
    order = [int(n) for epoch in (0, 1, 2) for n in p.tokens_by_group(epoch)]
    for step in range(20, 25):
        # the epoch it is in is counted exactly
        assert forecast.tokens_left(step) == sum(order[step:25])
    assert forecast.tokens_left(25) == 0
    assert forecast.tokens_left(5) == sum(order[5:10]) + 2000 + 1000, "later epochs count as their mean"
    assert run(forecast, range(1, 26), lambda step: 0.01)[19] == pytest.approx(0.01 * sum(order[20:25]))


def test_groups_of_an_odd_epoch():
    p = planner([2, 3, 5, 7, 11, 13])
    assert p.tokens_by_group(0).tolist() == [
        int(np.asarray(p.lengths)[p.group(0)[1]].sum()),
        int(np.asarray(p.lengths)[p.group(1)[1]].sum()),
    ]


def test_the_newest_updates_count_most_and_the_cold_first_ones_not_at_all():
    p = planner([10] * 4000)  # 1,000 updates of 40 tokens
    said = run(Forecast(p, total=1000, evaluate_every=1000), range(1, 501), lambda step: 1.0 if step <= 2 else 0.01)
    assert said[2] == pytest.approx(0.01 * 40 * 997)
    assert said[0] > 50 * said[2]
    forecast = Forecast(p, total=1000, evaluate_every=1000)
    said = run(forecast, range(1, 501), lambda step: 0.01 if step <= 400 else 0.03)
    half = said[400 + HALF_LIFE - 1] / (40 * (1000 - 400 - HALF_LIFE))
    assert half == pytest.approx(0.02, rel=0.01), "after one half-life the old and the new speed count alike"
    assert said[499] == pytest.approx(0.03 * 40 * 500, rel=0.01)


def test_until_updates_are_warm_the_speed_is_the_one_that_check_measured():
    p = planner([10] * 4000)
    forecast = Forecast(p, total=1000, evaluate_every=1000, estimate={"tokens_per_s": 50.0})
    said = run(forecast, range(1, 4), lambda step: 1.0 if step <= 2 else 0.01)
    assert said == pytest.approx([40 * 999 / 50, 40 * 998 / 50, 0.01 * 40 * 997])


def test_validations_and_checkpoints_to_come_are_priced():
    p = planner([10] * 400)  # 100 updates of 40 tokens
    told = {"validation_each_s": 2.0, "saving_each_s": 0.5, "finish_s": 7.0}
    forecast = Forecast(p, total=100, evaluate_every=30, save_every=25, estimate=told)
    steps = 0.4 * 90
    # to come at 30, 60, 90, 100, each with a checkpoint, and checkpoints at 25, 50, 75, 100
    assert run(forecast, range(1, 11), lambda step: 0.01)[-1] == pytest.approx(steps + 4 * 2.5 + 4 * 0.5 + 7)
    forecast.took("validation", 10.0)
    forecast.took("saving", 1.0)
    assert forecast.left_s(10) == pytest.approx(steps + 4 * 11 + 4 + 7), "what they took replaces what check said"
    assert forecast.left_s(30) == pytest.approx(0.4 * 70 + 3 * 11 + 3 + 7)
    assert forecast.left_s(100) == 7
    assert Forecast(p, total=100, evaluate_every=30).left_s(10) == 0


def test_the_record_holds_forecasts_against_what_was_then_left():
    p = planner([10] * 400)
    forecast = Forecast(p, total=100, evaluate_every=100)
    run(forecast, range(1, 101), lambda step: 0.01 if step <= 50 else 0.02, start=5.0)
    record = forecast.record(5.0 + 50 * 0.4 + 50 * 0.8)
    assert [each["step"] for each in record] == [3, 10, 25, 50, 75]
    assert record[1] == {"step": 10, "left_s": 36.0, "took_s": 56.0}
    assert record[4] == {"step": 75, "left_s": pytest.approx(20.0, abs=2), "took_s": 20.0}


def test_a_resumed_run_keeps_one_forecast_of_the_marks_behind_it():
    p = planner([10] * 400)
    forecast = Forecast(p, total=100, evaluate_every=100)
    run(forecast, range(61, 101), lambda step: 0.01)
    assert [each["step"] for each in forecast.kept] == [63, 75]
