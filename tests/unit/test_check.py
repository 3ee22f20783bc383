"""What `check` says of times."""

import pytest

from septet.check import clock, clocks


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (62, "62 s"), (95, "1.6 min"), (1800, "30 min"), (9000, "2.5 h"), (913895640, "253,860 h")],
)
def test_a_duration(seconds, told):
    assert clock(seconds) == told


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(50, 86, "50 to 86 s"), (86, 102, "1.4 to 1.7 min"), (646947396, 1447791595, "179,708 to 402,164 h")],
)
def test_two_durations_have_one_unit(low, high, told):
    assert clocks(low, high) == told
