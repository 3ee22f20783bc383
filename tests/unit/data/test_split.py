"""Cutting splits: shares, strata, groups, and no dependence on the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.rows import Rows, row_ids
from septet.data.split import cut

SHARES = {"validation": 0.1, "test": 0.15}


def table(texts, labels, groups=None):
    return Rows([(text,) for text in texts], list(labels), groups, list(range(len(texts))), str)


def split(rows, shares=SHARES, *, seed=42, stratify=True):
    return cut(rows, row_ids(rows), shares=shares, seed=seed, stratify=stratify)


@given(st.lists(st.integers(1, 120), min_size=1, max_size=12), st.integers(0, 99), st.floats(0, 0.4), st.floats(0, 0.4))
@settings(max_examples=60, deadline=None)
def test_shares_and_strata_hold(counts, seed, validation, test):
    labels = [f"label {k}" for k, n in enumerate(counts) for _ in range(n)]
    rows = table([f"text {i}" for i in range(len(labels))], labels)
    shares = {"validation": validation, "test": test}
    found = split(rows, shares, seed=seed)
    assert sorted(i for indices in found.values() for i in indices) == list(range(len(rows)))
    assert set(labels) == {labels[i] for i in found["train"]}
    forced = len(counts)  # the first row of each label goes to train, whatever its share
    for name, share in shares.items():
        assert abs(len(found[name]) - share * len(rows)) <= 2 + forced * share
        for label, total in Counter(labels).items():
            assert abs(sum(labels[i] == label for i in found[name]) - share * total) <= 3


def test_many_small_labels_still_give_both_splits_their_share():
    labels = [f"label {i % 77}" for i in range(77 * 5)]
    found = split(table([f"t{i}" for i in range(len(labels))], labels), {"validation": 0.1, "test": 0.1})
    assert abs(len(found["validation"]) - 38.5) <= 2
    assert abs(len(found["test"]) - 38.5) <= 2


def test_the_order_of_the_rows_does_not_matter():
    rng = random.Random(0)
    content = [
        (f"text {rng.randint(0, 300)}", rng.choice("abc"), rng.choice([None, "g1", "g2", "g3", "g4", "g5", "g6"]))
        for _ in range(400)
    ]

    def as_sets(order):
        rows = table([c[0] for c in order], [c[1] for c in order], [c[2] for c in order])
        return {name: Counter(order[i] for i in indices) for name, indices in split(rows).items()}

    shuffled = content.copy()
    rng.shuffle(shuffled)
    assert as_sets(content) == as_sets(shuffled)


def test_the_seed_matters():
    rows = table([f"t{i}" for i in range(200)], "ab" * 100)
    assert split(rows, seed=1)["test"] == split(rows, seed=1)["test"]
    assert split(rows, seed=1)["test"] != split(rows, seed=2)["test"]


@given(
    st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from("abc"), st.none() | st.integers(0, 12)), min_size=1, max_size=150
    )
)
@settings(max_examples=80, deadline=None)
def test_no_group_and_no_text_is_in_two_splits(content):
    rows = table(
        [f"text {t}" for t, _, _ in content],
        [label for _, label, _ in content],
        [None if g is None else str(g) for _, _, g in content],
    )
    found = split(rows)
    place = {i: name for name, indices in found.items() for i in indices}
    assert len(place) == len(rows)
    for key in (lambda i: rows.texts[i], lambda i: rows.groups[i]):
        homes: dict = {}
        for i, name in place.items():
            if key(i) is not None:
                homes.setdefault(key(i), set()).add(name)
        assert all(len(names) == 1 for names in homes.values())
    assert set(rows.labels) == {rows.labels[i] for i in found["train"]}


def test_many_groups_come_close_to_the_shares():
    rng = random.Random(3)
    groups = [str(g) for g in range(200) for _ in range(rng.randint(1, 9))]
    rows = table([f"t{i}" for i in range(len(groups))], [rng.choice("ab") for _ in groups], groups)
    found = split(rows, {"validation": 0.1, "test": 0.1})
    for name in ("validation", "test"):
        assert len(found[name]) == pytest.approx(0.1 * len(rows), abs=10)
        assert sum(rows.labels[i] == "a" for i in found[name]) / len(found[name]) == pytest.approx(0.5, abs=0.15)


def test_a_small_table_still_gives_each_split_a_row_and_every_label_to_train():
    found = split(table(list("uvwxy"), "aabbb"), {"validation": 0.1, "test": 0.1})
    assert [len(found[name]) for name in ("train", "validation", "test")] == [3, 1, 1]
    assert split(table(list("uv"), "ab"), {"validation": 0.4})["validation"] == []


def test_row_ids_are_stable_under_reordering():
    rng = random.Random(1)
    content = [(f"text {rng.randint(0, 40)}", rng.choice("ab")) for _ in range(200)]
    shuffled = content.copy()
    rng.shuffle(shuffled)
    ids = [sorted(zip(row_ids(table(*zip(*c, strict=True))), c, strict=True)) for c in (content, shuffled)]
    assert ids[0] == ids[1]
    assert len({i for i, _ in ids[0]}) == 200
    assert all(0 <= i < 2**63 for i, _ in ids[0])


def test_a_pair_is_not_its_joined_text():
    pair = [row_ids(Rows([texts], ["x"], None, [0], str))[0] for texts in (("ab", "c"), ("a", "bc"), ("abc",))]
    assert len(set(pair)) == 3


@given(
    st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 30)),
        min_size=5,
        max_size=90,
    ),
    st.integers(0, 99),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_equal_texts_groups_and_near_ones_stay_together_whatever_joins_them(content, seed, stratify):
    """Whoever is linked to a row by its text, its group or its near duplicate is in its split, and so is whoever is linked to those."""
    first: dict[int, int] = {}
    alike = [first.setdefault(near, i) for i, (_, _, _, near) in enumerate(content)]
    groups = [f"g{group}" if group else None for _, _, group, _ in content]
    rows = table([f"text {text}" for text, _, _, _ in content], [label for _, label, _, _ in content], groups)
    found = cut(rows, row_ids(rows), shares=SHARES, seed=seed, stratify=stratify, alike=alike)
    where = {i: split for split, indices in found.items() for i in indices}
    assert sorted(where) == list(range(len(content)))
    for links in (rows.texts, groups, alike):
        sides: dict[object, set[str]] = {}
        for i, link in enumerate(links):
            if link is not None:
                sides.setdefault(link, set()).add(where[i])
        assert all(len(splits) == 1 for splits in sides.values())
