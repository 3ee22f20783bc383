"""A training on a device that is not the host, by a stand-in for a GPU: no step mixes devices, few wait for it, and the losses are the CPU's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

import small
from septet import journey

TESTS = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch knows no devices in Python",
)


def there(what, precision):
    """Return what a training there came to; in a process of its own, because a device cannot be taken back."""
    asked = subprocess.run(
        [sys.executable, str(TESTS / "far_device.py"), what, precision],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    return json.loads(asked.stdout.splitlines()[-1])


def here(what, folder):
    source = small.of(what, folder)
    source["model"]["attention"] = "sdpa"
    run = journey.train(source, run=folder / "run").run
    return [step["loss"] for step in run.records("steps.jsonl")]


@pytest.mark.parametrize("what", ["classify", "llama"])
def test_the_losses_of_the_cpu_and_two_waits_an_update(tmp_path, what):
    found = there(what, "fp32")
    assert found["losses"] == pytest.approx(here(what, tmp_path), rel=1e-4)
    assert found["calls"] > 0, "its rows are laid end to end"
    # for the losses of all micro-batches, and for the gradient's norm; validations and saves wait more
    assert min(map(len, found["waits"])) == 2
    assert sum(len(waits) == 2 for waits in found["waits"]) >= 3


def test_states_of_a_frozen_part_in_half_precision(tmp_path):
    found = there("head", "fp16")
    assert len(found["losses"]) > 4 and all(0 < loss < 10 for loss in found["losses"])
