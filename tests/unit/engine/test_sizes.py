"""Rows that keep their padding are padded to few widths, so that matrix products have sizes that were seen before."""

import pytest
import torch

from septet.engine.loop import Examples
from septet.engine.unpad import Unpadder
from septet.model.sizes import filled, width
from tiny import bench, model_folder


def test_four_widths_between_two_powers_of_two():
    assert sorted({width(n, 512) for n in range(32, 64)}) == [32, 40, 48, 56, 64]
    assert sorted({width(n, 512) for n in range(1, 17)}) == [4, 8, 12, 16]
    assert all(n <= width(n, 512) < 1.25 * n + 4 for n in range(1, 512))
    assert filled(0, 4) == 0


@pytest.mark.parametrize(("longest", "limit", "expected"), [(37, 38, 38), (37, 30, 37), (37, None, 37), (37, 99, 40)])
def test_a_limit_is_kept(longest, limit, expected):
    assert width(longest, limit) == expected


@pytest.mark.parametrize("limit", [None, 64])
def test_a_micro_batch_is_as_wide_as_one_of_them(tmp_path, limit):
    b = bench(model_folder(tmp_path, "distilbert"), count=12)
    plan = b.planner(batch=5, micro_batch=3)
    widths = set()
    for step in range(plan.total_steps(1)):
        for plain, wide in zip(b.source(plan).group(step)[1], source(b, plan, limit).group(step)[1], strict=True):
            own, found = plain.inputs["input_ids"].shape[1], wide.inputs["input_ids"].shape[1]
            assert found == width(own, limit)
            assert wide.inputs.get("attention_mask", torch.ones(len(wide), found)).sum() == sum(
                meta["size"] for meta in wide.meta
            )
            widths.add(found)
    assert limit is None or all(n == filled(n, 4, least=4) for n in widths)


def test_rows_laid_end_to_end_need_none(tmp_path):
    b = bench(model_folder(tmp_path, "bert"), count=12)
    plan = b.planner()
    for batch in source(b, plan, 64, Unpadder()).group(0)[1]:
        tokens = sum(meta["size"] for meta in batch.meta)
        assert batch.inputs["input_ids"].shape == (1, filled(tokens, 32, least=8))


def source(b, plan, limit, unpadder=None):
    return Examples(b.examples, plan, b.task, b.processor, torch.device("cpu"), unpadder, limit)
