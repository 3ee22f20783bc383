"""The diagnosis on planted curves; real planted runs are in the slow tests."""

import math

import numpy as np
import pytest

from septet.diagnose import judge
from septet.signs import ChoiceSigns, gather

BASELINES = {"majority": (0.5, 0.45, 0.55), "tfidf": (0.78, 0.74, 0.82), "features": (0.84, 0.80, 0.88)}


def course(start: float, end: float, steps: int, noise: float = 0.05, seed: int = 0, steep: float = 4) -> list[float]:
    rng = np.random.default_rng(seed)
    falling = end + (start - end) * np.exp(-steep * np.arange(steps) / max(steps, 1))
    return (falling * (1 + rng.normal(0, noise, steps))).tolist()


def signs(**changes) -> ChoiceSigns:
    """A healthy run: two labels, 2,000 rows, three epochs."""
    held = {"tuned": changes.pop("tuned", (0.89, 0.86, 0.92)), **changes.pop("baselines", BASELINES)}
    validation = changes.pop("validation_losses", [0.36, 0.31, 0.30])
    values = changes.pop("validation_scores", [0.86, 0.885, 0.89])
    epochs = changes.get("epochs", 3.0)
    records = [
        {"epoch": epochs * (i + 1) / len(validation), "loss": loss, "accuracy": value}
        for i, (loss, value) in enumerate(zip(validation, values, strict=True))
    ]
    facts = {
        "losses": course(0.69, 0.12, 190), "metric": "accuracy", "train_score": 0.96, "train_loss": 0.12, "train_rows": 2000, "num_labels": 2,
        "entropy": math.log(2), "lr": 5e-5, "usual_lr": 5e-5, "epochs": epochs,
    }  # fmt: skip
    return ChoiceSigns(validation=records, held=held, **(facts | changes))


def test_healthy():
    found = judge(signs())
    assert (found.verdict, found.causes, found.change) == ("healthy", [], "")
    assert "96.0" in found.message and "89.0" in found.message
    assert found.finding() is None


def test_fifty_rows_for_thirty_epochs_is_overfitting():
    found = judge(
        signs(
            losses=course(0.69, 0.004, 120), train_score=1.0, train_loss=0.003, tuned=(0.68, 0.63, 0.73), train_rows=50, epochs=30.0,
            validation_losses=[0.66, 0.60, 0.62, 0.75, 0.93, 1.05], validation_scores=[0.6, 0.68, 0.68, 0.67, 0.67, 0.67],
        )
    )  # fmt: skip
    assert found.verdict == "overfitting" and found.causes == ["too-little-data", "too-many-epochs"]
    assert found.change == "train.epochs=10"
    assert "too little data" in found.message and "50 rows, 30 epochs" in found.message
    finding = found.finding()
    assert finding is not None and finding.slug == "overfitting" and finding.evidence["change"] == found.change


def test_fifty_rows_without_a_rising_loss_are_still_too_few_and_thirty_epochs_idle():
    found = judge(
        signs(
            losses=course(0.69, 0.0005, 120, steep=12), train_score=1.0, train_loss=0.003, tuned=(0.70, 0.65, 0.75), train_rows=50, epochs=30.0,
            validation_losses=[0.66, 0.62, 0.61, 0.60], validation_scores=[0.6, 0.68, 0.69, 0.7],
        )
    )  # fmt: skip
    assert found.verdict == "overfitting" and found.causes == ["too-little-data", "too-many-epochs"]


def test_many_rows_and_too_many_epochs():
    found = judge(
        signs(
            tuned=(0.87, 0.85, 0.89),
            train_score=0.999,
            epochs=10.0,
            validation_losses=[0.33, 0.30, 0.41, 0.55, 0.62],
            validation_scores=[0.86, 0.88, 0.88, 0.87, 0.87],
        )
    )
    assert found.verdict == "overfitting" and found.causes == ["too-many-epochs"] and found.change == "train.epochs=4"


def test_few_rows_where_frozen_features_do_as_well():
    found = judge(
        signs(tuned=(0.70, 0.66, 0.74), train_score=0.99, train_rows=120, baselines={"features": (0.74, 0.7, 0.78)})
    )
    assert found.causes == ["too-little-data"] and found.change == "method=head"


def test_a_rate_of_1e_7_is_underfitting():
    found = judge(
        signs(
            losses=[0.693] * 190,
            lr=1e-7,
            train_score=0.52,
            train_loss=0.692,
            tuned=(0.51, 0.46, 0.56),
            validation_losses=[0.693, 0.693, 0.692],
            validation_scores=[0.5, 0.5, 0.51],
        )
    )
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["lr-too-low"], "train.lr=5e-05")


def test_three_steps_are_too_short():
    found = judge(
        signs(
            losses=[0.70, 0.69, 0.69],
            epochs=0.05,
            max_steps=3,
            train_score=0.55,
            train_loss=0.69,
            tuned=(0.54, 0.49, 0.59),
            validation_losses=[0.69],
            validation_scores=[0.54],
        )
    )
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["too-short"], "train.max_steps=90")
    by_epochs = judge(
        signs(
            losses=[0.70, 0.69, 0.69],
            epochs=1.0,
            train_score=0.55,
            train_loss=0.69,
            tuned=(0.54, 0.49, 0.59),
            validation_losses=[0.69],
            validation_scores=[0.54],
        )
    )
    assert by_epochs.change == "train.epochs=30"


def test_a_run_that_stopped_while_it_still_learnt_is_too_short():
    found = judge(
        signs(
            losses=course(0.69, 0.50, 60),
            train_score=0.76,
            train_loss=0.52,
            tuned=(0.75, 0.71, 0.79),
            validation_losses=[0.66, 0.60, 0.54],
            validation_scores=[0.6, 0.7, 0.75],
        )
    )
    assert found.verdict == "underfitting" and found.causes == ["too-short"] and found.change == "train.epochs=6"


@pytest.mark.parametrize(
    "losses", [course(0.69, 0.3, 60) + [0.75] * 60, [0.69, 5.0, 3.0, *([1.1] * 60)], [0.69, 0.6, math.nan, 0.7]]
)
def test_a_loss_that_blew_up_wants_a_lower_rate(losses):
    found = judge(
        signs(
            losses=losses,
            lr=1e-3,
            train_score=0.5,
            train_loss=0.70,
            tuned=(0.5, 0.45, 0.55),
            validation_losses=[0.7, 0.71, 0.7],
            validation_scores=[0.5, 0.5, 0.5],
        )
    )
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["lr-too-high"], "train.lr=5e-05")


def test_labels_that_do_not_follow_from_the_text():
    found = judge(
        signs(
            losses=[0.69] * 190,
            train_score=0.53,
            train_loss=0.689,
            tuned=(0.5, 0.46, 0.54),
            validation_losses=[0.69, 0.69],
            validation_scores=[0.5, 0.5],
            baselines={"majority": (0.5, 0.46, 0.54), "tfidf": (0.51, 0.47, 0.55)},
        )
    )
    assert found.causes == ["no-signal"]


def test_a_small_method_that_cannot_fit_its_rows():
    found = judge(
        signs(
            losses=course(0.69, 0.52, 190),
            method="lora",
            train_score=0.77,
            train_loss=0.5,
            tuned=(0.76, 0.73, 0.79),
            validation_losses=[0.53, 0.52, 0.52],
            validation_scores=[0.75, 0.76, 0.76],
        )
    )
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["too-few-weights"], "method=full")


def test_a_wide_interval_is_no_proof():
    assert judge(signs(train_score=1.0, tuned=(0.78, 0.45, 0.95))).verdict == "healthy"


def test_without_trained_rows_the_curves_alone_speak():
    assert judge(signs(train_score=None, train_loss=None)).verdict == "healthy"
    assert judge(signs(train_score=None, train_loss=None, losses=[0.69] * 190, lr=1e-7)).causes == ["lr-too-low"]


def test_signs_come_from_the_files_of_the_run(tmp_path):
    import invented_run
    from septet.recipe import Recipe

    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 30), steps=40)
    scores = [
        {"split": split, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 30, "who": who}
        for split, who, metric, value in (
            ("test", "tuned", "accuracy", 0.8), ("test", "majority", "accuracy", 0.6), ("validation", "tuned", "accuracy", 0.9),
            ("train (sample)", "tuned", "accuracy", 0.97), ("train (sample)", "tuned", "log_loss", 0.2),
        )
    ]  # fmt: skip
    found = gather(run, Recipe.load(run.path / "recipe.yaml"), scores, tests=["test"])
    assert found.tuned[0] == 0.8 and found.train_score == 0.97 and found.train_loss == 0.2
    assert (found.steps, found.epochs, found.lr, found.train_rows, found.num_labels) == (40, 5.0, 5e-5, 62, 2)
    assert 0 < found.entropy <= math.log(2) and found.best_baseline == ("majority", 0.6)
