"""What `check` and the report say of a GPU's memory; the figures are planted, as no GPU is needed to judge them."""

import pytest

from septet.check import _resources
from septet.page.evidence import _of_gpu

GIB = 2**30


def told(need, *, kind="cuda", gpu=True):
    estimate = {"disk_bytes": 1, "memory_bytes": GIB} | ({"gpu_memory_bytes": need} if gpu else {})
    facts = {
        "disk_bytes": {"free": GIB, "folder": "here"},
        "memory_bytes": {"total": 64 * GIB},
        "accelerators": [{"kind": kind, "memory_bytes": 10 * GIB}],
    }
    return [finding.message for finding in _resources(estimate, facts)]


def test_a_gpu_that_is_too_small_is_named():
    assert told(9.9 * GIB) == ["The run takes about 9.9 of 10.0 GiB of the GPU's memory."]


@pytest.mark.parametrize(
    "options", [{"need": GIB}, {"need": 99 * GIB, "gpu": False}, {"need": 99 * GIB, "kind": "mps"}]
)
def test_nothing_is_said_of_one_that_has_room_or_is_not_used(options):
    assert told(**options) == []


def test_the_report_shows_what_it_held():
    assert _of_gpu({}, {}) == []
    ((name, guess, took),) = _of_gpu({"gpu_memory_bytes": 2 * GIB}, {"peak_gpu_memory_bytes": 3 * GIB})
    assert (name, guess[0], took[0]) == ("peak memory of the GPU", "2", "3")
