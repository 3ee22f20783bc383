"""Several processes learn what one does: gradients, updates, loss curves, and every row once an epoch.

Tolerances are those of micro-batches: gradients to 1e-6 of their norm in fp32 and 2e-2 in bf16, an AdamW update to 2e-4, losses to 1e-5.
"""

import json
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import kinds
import small
from septet.engine.plan import Planner
from tiny import distance, model_folder

LENGTHS = np.random.default_rng(0).integers(4, 60, 203).tolist()


@pytest.fixture(scope="module")
def course(crew, tmp_path_factory):
    """Return what a number of processes came to; each is computed once."""
    folder = tmp_path_factory.mktemp("course")
    model = model_folder(folder / "bert", dropout=0.1)
    known = {}

    def found(world, precision="fp32"):
        until = 12 if precision == "bf16" or world == 3 else 50
        if (world, precision) not in known:
            out = folder / f"{world}-{precision}"
            given = {"folder": str(model), "out": str(out), "until": until, "kept": {"precision": precision}}
            assert crew.run(world, "rank_jobs:course", **given) == [0] * world
            known[world, precision] = json.loads(Path(f"{out}.json").read_text()), load_file(f"{out}.safetensors")
        return known[world, precision]

    return found


@pytest.mark.parametrize("world", [2, 3])
def test_fp32(course, world):
    facts, tensors = course(world)
    expected, one = course(1)
    assert 0 < distance(tensors, one, "gradient.") <= 1e-6
    assert distance(tensors, one, "update.") <= 2e-4
    steps = len(facts["losses"])
    assert steps == (50 if world == 2 else 12)
    assert np.abs(np.subtract(facts["losses"], expected["losses"][:steps])).max() <= 1e-5
    assert (facts["rows"], facts["tokens"]) == (expected["rows"][:steps], expected["tokens"][:steps])
    assert np.mean(expected["losses"][-5:]) < np.mean(expected["losses"][:5]) - 0.02, "nothing was learnt"


def test_bf16(course):
    facts, tensors = course(2, "bf16")
    expected, one = course(1, "bf16")
    assert 0 < distance(tensors, one, "gradient.") <= 2e-2
    assert np.abs(np.subtract(facts["losses"], expected["losses"])).max() <= 2e-2


@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_has_the_same_weights(course, world):
    facts, _ = course(world)
    assert all(sums == facts["sums"][0] for sums in facts["sums"])


@pytest.mark.parametrize("world", [2, 3])
def test_every_row_once_an_epoch(course, world):
    """The ledger of row ids over the ranks; the last group has 3 rows."""
    facts, _ = course(world)
    for epoch in range(2):
        groups = range(epoch * facts["groups"], (epoch + 1) * facts["groups"])
        seen = Counter(row for rank in facts["seen"] for i in groups for row in rank[i])
        assert seen == dict.fromkeys(facts["all"], 1)
        assert len(facts["seen"]) == world and all(any(rank[i] for i in groups) for rank in facts["seen"])


def planner(**changes):
    return Planner(**{"lengths": LENGTHS, "batch": 16, "seed": 7, "token_budget": 200, **changes})


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shares_are_a_partition_of_like_work(world):
    for step in (0, 5, 12):
        group = planner().group(step)[1]
        shares = [planner(world=world, rank=rank).share(group, rank) for rank in range(world)]
        assert sorted(np.concatenate(shares)) == sorted(group)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    tokens = [sum(LENGTHS[i] for i in planner(world=world).share(planner().group(0)[1], r)) for r in range(world)]
    assert max(tokens) - min(tokens) <= 60


def test_a_group_smaller_than_the_ranks_leaves_some_nothing():
    group = planner().group(0)[1][:3]
    splits = [planner(world=5, rank=rank).micro_batches(group) for rank in range(5)]
    assert [len(split) for split in splits] == [1, 1, 1, 0, 0]
    assert sorted(np.concatenate([m for split in splits for m in split])) == sorted(group)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_in_step_every_rank_has_as_many_micro_batches(world):
    for step in range(13):
        group = planner().group(step)[1]
        splits = [planner(world=world, rank=r, in_step=True).micro_batches(group) for r in range(world)]
        assert len({len(split) for split in splits}) == 1
        assert sorted(np.concatenate([m for split in splits for m in split])) == sorted(group)


def test_messages(crew, tmp_path):
    assert crew.run(3, "rank_jobs:talk", out=str(tmp_path / "told")) == [0, 0, 0]
    for rank in range(3):
        told = json.loads((tmp_path / f"told.{rank}.json").read_text())
        assert told["gather"] == [{"rank": r, "text": "ä" * (r * 1000)} for r in range(3)]
        assert told["decide"] == "rank 0"
        assert told["any"] == [True, False]
        assert told["sum"] == [1.5, 3.0]
        assert told["add_up"] == [[6.0] * 6, [60.0] * 5]
        assert told["found"] == "here"


def test_a_run_of_two_is_a_run_of_one(crew, tmp_path):
    """The whole verb: curve, validation, the model; only the leader writes and prints."""
    source = small.recipe(tmp_path, count=43)
    assert crew.run(1, "rank_jobs:verb", source=source, run=str(tmp_path / "one")) == [0]
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(tmp_path / "two")) == [0, 0]
    one, two = (small.steps(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 15
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["rows"], a["tokens"], a["lr"]) == (b["step"], b["rows"], b["tokens"], b["lr"])
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    scores = [small.Run(tmp_path / name).records("evaluations.jsonl") for name in ("one", "two")]
    for a, b in zip(*scores, strict=True):
        assert a.keys() == b.keys() and all(b[k] == pytest.approx(a[k], abs=1e-5) for k in a if k != "split")
    assert "trained     15 updates" in (tmp_path / "two.0.txt").read_text()
    assert (tmp_path / "two.1.txt").read_text() == ""
    assert not list((tmp_path / "two").glob("**/*.tmp"))


@pytest.mark.parametrize("key", ["compile", "kernels"])
def test_where_one_machine_has_no_compiler_none_compiles(crew, tmp_path, key):
    source = small.recipe(tmp_path, count=43, precision="bf16", epochs=1, **{"kernels": False, key: True})
    run = tmp_path / "run"
    assert crew.run(2, "rank_jobs:lacking", source=source, run=str(run), rank=1) == [0, 0]
    ranks = [json.loads((tmp_path / f"run.{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1] and ranks[0]["optimizer"] == "AdamW"
    found = {f["slug"]: f["message"] for f in small.Run(run).read_json("setup.json")["findings"]}
    told = found["nothing-compiled" if key == "compile" else "kernels-unused"]
    assert f"(rank 1 of 2, on {socket.gethostname()})" in told and "C++ compiler" in told


CASES = {
    **kinds.TEXTS,
    "muon": lambda f: {**small.recipe(f, count=43, epochs=1), "optimizer": "muon"},
    "bf16, in one compiled pass": lambda f: small.recipe(f, count=43, precision="bf16", compile=True, epochs=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_task_and_optimizer(crew, tmp_path, case):
    source = CASES[case](tmp_path)
    for world in (1, 2):
        assert crew.run(world, "rank_jobs:verb", source=source, run=str(tmp_path / str(world))) == [0] * world, (
            tmp_path / f"{world}.0.txt"
        ).read_text()
    one, two = (small.steps(tmp_path / name) for name in ("1", "2"))
    assert len(one) == len(two) >= 4
    bound = 2e-2 if "bf16" in case else 1e-5
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["rows"], a["tokens"]) == (b["step"], b["rows"], b["tokens"])
        assert b["loss"] == pytest.approx(a["loss"], abs=bound)
    assert any(a["loss"] != b["loss"] for a, b in zip(one, two, strict=True)), "nothing was split"
