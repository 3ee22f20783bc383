"""The sizes of matrix products that a run meets: those that its batches have, and what memory they are expected to take."""

from types import SimpleNamespace

import numpy as np
import torch

from septet import rehearse
from septet.engine import products
from septet.engine.plan import Planner
from septet.engine.unpad import Unpadder, shapes
from septet.tasks import Batch


def test_shapes_are_those_of_the_batch_without_padding():
    draw = np.random.default_rng(0)
    for _ in range(50):
        lengths = sorted(draw.integers(1, 90, size=draw.integers(1, 20)).tolist())
        ids_BT = torch.ones(len(lengths), max(lengths), dtype=torch.int64)
        mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        batch = Batch({"input_ids": ids_BT, "attention_mask": mask_BT.long()}, None, [0] * len(lengths), [])
        found = Unpadder()(batch)
        buckets = found.layout.buckets(2)
        there = {(len(bucket.members), bucket.tokens) for bucket in buckets}
        assert shapes(lengths) == {(found.inputs["input_ids"].shape[1],), *there}
    assert shapes([]) == set()


def test_padded_micro_batches_have_rows_and_one_of_few_widths():
    planner = Planner([5, 5, 5, 5, 30, 30, 30, 30], 4, seed=0, token_budget=60)
    found = products.sizes(planner, range(2), unpadded=False, longest=64)
    for update in range(2):
        for micro in planner.micro_batches(planner.group(update)[1]):
            longest = max(planner.lengths[i] for i in micro)
            assert (len(micro), {5: 8, 30: 32}[longest]) in found
    assert {tokens for _, tokens in products.sizes(planner, range(2), unpadded=False, longest=30)} <= {8, 30}
    fixed = Planner([5, 5, 5, 5], 2, seed=0, token_budget=200, length=40)
    assert products.sizes(fixed, range(4), unpadded=False) == {(2, 40)}


def test_the_growth_of_sizes_to_come():
    known = {"warm": 5, "seen": 20}
    assert products.growth(150, **known, run=50, unpadded=True) == 300, "ten each"
    assert products.growth(1000, **known, run=80, unpadded=False) == 1000, "four times as many, as 5 to 20 were"
    for unpadded in (True, False):
        assert products.growth(150, **known, run=20, unpadded=unpadded) == 0, "all were rehearsed"
        assert products.growth(-7, **known, run=50, unpadded=unpadded) == 0, (
            "memory that was given back promises nothing"
        )
        assert products.growth(150, warm=19, seen=20, run=50, unpadded=unpadded) == 0, "one new size has no price"
        most = products.growth(150, **known, run=products.MOST_SIZES, unpadded=unpadded)
        assert products.growth(150, **known, run=10**6, unpadded=unpadded) == most > 0, "oneDNN forgets the oldest"
        assert products.growth(150, warm=0, seen=20, run=50, unpadded=unpadded) > 0


def test_a_long_run_is_looked_at_here_and_there():
    assert products.spread(3) == [0, 1, 2]
    looked = products.spread(10**6)
    assert len(looked) == products.LOOKED_AT and looked[0] == 0 and looked[-1] == 10**6 - 1


def setup(total, *, device="cpu", states=None):
    lengths = np.random.default_rng(1).integers(4, 60, size=400).tolist()
    planner = Planner(lengths, 8, seed=0, token_budget=512, unpadded=True)
    model = SimpleNamespace(max_length=64)
    return SimpleNamespace(
        planner=planner,
        unpadder=Unpadder(),
        device=torch.device(device),
        states=states,
        total=total,
        recipe=SimpleNamespace(model=model),
    )


def test_the_memory_to_come_is_priced_by_what_rehearsed_sizes_took():
    order = list(range(40))
    one = setup(40)
    seen = products.sizes(one.planner, order[:20], unpadded=True)
    new = len(seen) - len(products.sizes(one.planner, order[: rehearse.WARM_STEPS], unpadded=True))
    ahead = len(products.sizes(one.planner, order, unpadded=True) | seen) - len(seen)
    assert new > 3 and ahead > 3
    assert rehearse._growing(one, order, 20, new * 1000) == ahead * 1000  # type: ignore[arg-type]
    assert rehearse._growing(setup(20), order, 20, new * 1000) == 0, "a run that was rehearsed whole"  # type: ignore[arg-type]
    assert rehearse._growing(setup(40, device="meta"), order, 20, new * 1000) == 0  # type: ignore[arg-type]
    assert rehearse._growing(setup(40, states=object()), order, 20, new * 1000) == 0  # type: ignore[arg-type]
