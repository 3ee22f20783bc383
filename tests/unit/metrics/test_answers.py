"""Both kinds of answers: what is taken, weighted and shared; and metrics refuse the kind that is not theirs."""

import numpy as np
import pytest

from septet import registry
from septet.errors import UsageError
from septet.metrics import Choices, Texts, compute, find, higher_is_better, metric, names_of, needs_texts
from septet.metrics.interval import compare, intervals


def texts(*, written: bool = True, measured: bool = True) -> Texts:
    return Texts(
        np.array([7, 8, 9]),
        ["a cat sat down", "größer", ""],
        ["a cat sat up", "größer", ""] if written else None,
        np.array([4.0, 3.0, 0.0]) if measured else None,
        np.array([4, 2, 0]),
        [{"words": {"max": 4}}] * 3,
    )


def choices() -> Choices:
    return Choices(np.array([7, 8, 9]), ["a", "b"], np.array([0, 1, -1]), np.array([[0.9, 0.1]] * 3))


def test_taking_rows_takes_every_field_of_them():
    taken = texts().take(np.array([2, 0, 0]))
    assert taken.rows.tolist() == [9, 7, 7]
    assert taken.references == ["", "a cat sat down", "a cat sat down"]
    assert taken.texts == ["", "a cat sat up", "a cat sat up"]
    assert (taken.losses.tolist(), taken.tokens.tolist(), taken.bytes.tolist()) == ([0, 4, 4], [0, 4, 4], [0, 14, 14])
    assert choices().take(np.array([1])).targets.tolist() == [1]
    assert choices().take(np.array([1])).labels == ["a", "b"]


def test_what_is_not_there_is_not_taken():
    taken = texts(written=False, measured=False).take(np.array([1]))
    assert taken.texts is None and taken.losses is None and len(taken) == 1


@pytest.mark.parametrize("answers", [texts(), choices()], ids=["texts", "choices"])
def test_weights_share_what_is_kept_of_the_rows_and_taking_does_not(answers):
    answers.keep("x", lambda: 1)
    answers.keep_drawn("y", lambda: 1)
    weighted = answers.weighted(np.ones((2, 3)))
    assert type(weighted) is type(answers)
    assert weighted.keep("x", lambda: 2) == 1
    assert weighted.keep_drawn("y", lambda: 2) == 2
    taken = weighted.take(np.array([0]))
    assert taken.weights is None
    assert taken.keep("x", lambda: 3) == 3


def test_totals_of_several_columns():
    values = np.arange(6).reshape(3, 2)
    assert texts().total(values).tolist() == [6, 9]
    assert texts().weighted(np.array([[1, 0, 2], [0, 0, 0]])).total(values).tolist() == [[8, 11], [0, 0]]


def test_bytes_are_those_of_utf_8():
    assert texts().bytes.tolist() == [14, len("größer".encode()), 0]


def test_the_kinds_share_no_metric_and_leave_none_out():
    assert not set(names_of("texts")) & set(names_of("choices"))
    assert sorted(names_of("texts") + names_of("choices")) == registry.names("metric")
    assert {"bleu", "loss"} <= set(names_of("texts")) and "accuracy" in names_of("choices")


def test_which_metrics_need_generated_text():
    assert {name for name in registry.names("metric") if needs_texts(name)} == {
        "adherence", "bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL",
    }  # fmt: skip
    assert not needs_texts("f1[refund]")
    assert (find("loss").of, find("loss").needs) == ("texts", "loss")
    assert (find("bleu").of, find("bleu").needs) == ("texts", "texts")
    assert (find("f1[a]").of, find("f1[a]").needs) == ("choices", None)
    assert higher_is_better("chrf") and not higher_is_better("bits_per_byte")


@pytest.mark.parametrize("name", ["f1[a]", "accuracy"])
def test_a_metric_of_labels_asked_of_texts(name):
    with pytest.raises(UsageError) as caught:
        compute([name], texts())
    assert f"{name} is a metric of choices; these answers are texts." in str(caught.value)
    assert "bits_per_byte, bleu, chrf" in str(caught.value)


@pytest.mark.parametrize("ask", [lambda a: compute(["bleu"], a), lambda a: intervals(["bleu"], a), find("bleu")])
def test_a_metric_of_texts_asked_of_labels(ask):
    with pytest.raises(UsageError, match="bleu is a metric of texts; these answers are choices") as caught:
        ask(choices())
    assert "accuracy, balanced_accuracy" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in names_of("texts") if needs_texts(name)])
def test_a_metric_of_generated_text_where_only_the_loss_was_measured(name):
    with pytest.raises(UsageError, match=f"{name} needs generated texts"):
        compute(["loss", name], texts(written=False))
    assert name in compute([name], texts(measured=False))


@pytest.mark.parametrize("name", ["loss", "perplexity", "bits_per_byte"])
def test_a_metric_of_the_loss_where_there_is_none(name):
    with pytest.raises(UsageError, match=f"{name} needs the loss"):
        compute([name], texts(measured=False))
    assert name in compute([name], texts(written=False))


def test_a_metric_rests_on_all_rows_of_texts():
    assert texts().num_rows("bleu") == texts().num_rows("loss") == 3


def test_limits_are_taken_with_their_rows():
    stated = texts()
    stated.limits = [{"words": {"max": 4}}, {}, {"sentences": {"max": 1}}]
    assert stated.take(np.array([2, 0])).limits == [{"sentences": {"max": 1}}, {"words": {"max": 4}}]
    assert (stated.num_rows("adherence"), stated.num_rows("adherence[words]"), stated.num_rows("bleu")) == (2, 1, 3)
    assert not stated.pairs_with(texts())


def test_systems_are_compared_on_the_same_rows_and_references_only():
    ours = texts()
    assert compare("chrf", ours, texts(), resamples=20).value == 0
    for other in (
        Texts(ours.rows, ["x", *ours.references[1:]], ours.texts, ours.losses, ours.tokens),
        Texts(ours.rows + 1, ours.references, ours.texts, ours.losses, ours.tokens),
        choices(),
    ):
        assert not ours.pairs_with(other) and not other.pairs_with(ours)
        with pytest.raises(UsageError, match="same rows"):
            compare("chrf", ours, other)


def test_a_marked_metric_of_ones_own_of_texts_needs_texts_unless_it_says_otherwise():
    @metric(low=0, high=1, better="higher", of="texts")
    def starts_alike(answers):
        """Share of the rows with the right first letter."""
        return np.mean([a[:1] == b[:1] for a, b in zip(answers.references, answers.texts, strict=True)])

    assert starts_alike.needs == "texts"
    assert starts_alike(texts()) == 1
    with pytest.raises(UsageError, match="starts_alike needs generated texts"):
        starts_alike(texts(written=False))
