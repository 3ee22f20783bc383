"""The diagnosis on planted curves; real planted runs are in the slow tests."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from septet.diagnose import judge
from septet.optimizers import derived_rate
from septet.recipe import Recipe
from septet.run import Run
from septet.signs import ChoiceSigns, TextSigns, gather
from septet.signs._signs import course as run_signs

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


@pytest.mark.parametrize(("optimizer", "usual"), [("adamw", 5e-5), ("adafactor", 1.3e-3), ("sgd", 5e-3)])
def test_the_usual_rate_is_that_of_the_optimizer(tmp_path: Path, optimizer: str, usual: float):
    given = {
        "data": {"train": "a.csv"},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "optimizer": optimizer,
        "train": {"lr": usual},
    }
    found = run_signs(Run(tmp_path / "run").create(), Recipe.load(given), {"splits": {"train": {"rows": 9}}})
    assert found["usual_lr"] == pytest.approx(usual)
    short = signs(
        losses=course(0.69, 0.64, 29),
        train_score=0.6,
        tuned=(0.59, 0.55, 0.63),
        **{name: found[name] for name in ("lr", "usual_lr", "optimizer")},
    )
    assert judge(short).causes == ["too-short"]


@pytest.mark.parametrize(("hidden", "usual"), [(384, 1e-4), (64, 1e-4), (2048, 1.9e-5)])
def test_the_usual_rate_is_the_one_that_is_derived_for_the_width(tmp_path: Path, hidden: int, usual: float):
    given = {
        "data": {"train": "a.csv"},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "train": {"lr": usual / 100},
    }
    run, recipe = Run(tmp_path / "run").create(), Recipe.load(given)
    run.write_json("model/config.json", {"hidden_size": hidden})
    found = run_signs(run, recipe, {"splits": {"train": {"rows": 9}}})
    assert found["usual_lr"] == derived_rate(recipe, {"hidden_size": hidden})[0] == pytest.approx(usual)
    facts = {name: found[name] for name in ("lr", "usual_lr", "optimizer")}
    slow = judge(signs(losses=course(0.69, 0.68, 90), train_score=0.6, tuned=(0.59, 0.55, 0.63), **facts))
    assert (slow.causes, slow.change) == (["lr-too-low"], f"train.lr={usual:g}")
    assert slow.advice.endswith(f"(it was {usual / 100:g}; Septet derives {usual:g} for full on this model)")


def test_a_model_from_scratch_has_no_usual_rate(tmp_path: Path):
    given = {
        "data": {"train": "a.csv"},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "model": {"architecture": "bert", "tokenizer": "starter"},
        "train": {"lr": 1e-3},
    }
    found = run_signs(Run(tmp_path / "run").create(), Recipe.load(given), {"splits": {"train": {"rows": 9}}})
    assert found["usual_lr"] is None
    weak: dict = {"train_score": 0.6, "tuned": (0.59, 0.55, 0.63), "lr": 1e-3, "usual_lr": None}
    assert judge(signs(losses=course(0.69, 0.64, 29), **weak)).causes == ["too-short"]
    blown = judge(signs(losses=[0.7] * 20 + [3.0] * 20, **weak))
    assert (blown.causes, blown.change) == (["lr-too-high"], "train.lr=0.0001")
    assert blown.advice == "a lower rate: train.lr=0.0001 (it was 0.001)"


# ---- rows that are answered with texts ----


def text_signs(**changes) -> TextSigns:
    """A healthy run: a model before tuning, 2,000 rows, three epochs."""
    epochs = changes.get("epochs", 3.0)
    validation = changes.pop("validation_losses", [1.42, 1.36, 1.35])
    records = [{"epoch": epochs * (i + 1) / len(validation), "loss": loss} for i, loss in enumerate(validation)]
    held = {"tuned": changes.pop("tuned", (1.34, 1.28, 1.40))}
    base = changes.pop("base", (2.1, 2.0, 2.2))
    facts = {
        "losses": course(2.1, 1.25, 190, steep=8), "train_loss": 1.24, "train_rows": 2000, "lr": 5e-5, "usual_lr": 5e-5, "epochs": epochs,
        "metric": "chrf", "written": {"tuned": (41.0, 38.0, 44.0), "base": (22.0, 20.0, 24.0), "nearest": (29.0, 27.0, 31.0)},
    }  # fmt: skip
    return TextSigns(validation=records, held=held | ({"base": base} if base else {}), **(facts | changes))


NOTHING = {"tuned": (2.098, 2.0, 2.2), "train_loss": 2.09, "validation_losses": [2.1, 2.099, 2.099]}


def test_texts_healthy():
    found = judge(text_signs())
    assert (found.verdict, found.causes, found.change, found.finding()) == ("healthy", [], "", None)
    expected = (
        "Healthy: the loss is 1.240 on trained rows and 1.340 nats a token on held-out rows, 2.100 before tuning."
    )
    assert found.message == expected
    assert found.evidence["chrf"] == 41.0 and found.evidence["best_baseline"] == ["nearest", 29.0]


def test_texts_a_baseline_that_writes_better_is_said_and_is_no_sign_of_the_fit():
    found = judge(text_signs(written={"tuned": (20.0, 18.0, 22.0), "constant": (29.0, 27.0, 31.0)}))
    assert found.verdict == "healthy" and "than the baseline constant: chrf 20.0, 29.0." in found.message
    unsure = judge(text_signs(written={"tuned": (20.0, 18.0, 28.0), "constant": (29.0, 27.0, 31.0)}))
    assert "constant" not in unsure.message


@pytest.mark.parametrize(("lr", "change"), [(1e-7, "train.lr=5e-05"), (2e-6, "train.lr=5e-05")])
def test_texts_a_tiny_rate_is_too_low(lr, change):
    found = judge(text_signs(losses=[2.1] * 190, lr=lr, **NOTHING))
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["lr-too-low"], change)
    assert "2.098 nats a token; before tuning it was 2.100" in found.message


def test_texts_a_usual_rate_that_does_nothing_may_mean_that_nothing_is_to_learn():
    found = judge(text_signs(losses=[2.1] * 190, **NOTHING))
    assert found.causes == ["lr-too-low"] and found.change == "train.lr=0.00025" and "read the samples" in found.advice


def test_texts_three_steps_are_too_short_whatever_they_took_off():
    for tuned in ((2.09, 2.0, 2.2), (1.9, 1.8, 2.0)):
        found = judge(
            text_signs(
                losses=[2.1, 2.0, 1.95], tuned=tuned, train_loss=1.9, validation_losses=[1.9], epochs=0.1, max_steps=3
            )
        )
        assert (found.verdict, found.causes, found.change) == ("underfitting", ["too-short"], "train.max_steps=90")


def test_texts_a_loss_that_falls_to_the_end_is_too_short():
    found = judge(text_signs(validation_losses=[1.6, 1.45, 1.38]))
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["too-short"], "train.epochs=6")
    assert "it still fell by 4.8% in the last third" in found.message
    turned = judge(text_signs(validation_losses=[1.9, 1.7, 1.3, 1.35]))
    assert turned.verdict == "healthy"


def test_texts_one_validation_leaves_it_to_the_training_loss():
    falling = np.linspace(2.1, 1.4, 120) + np.random.default_rng(0).normal(0, 0.05, 120)
    one = {"validation_losses": [1.4], "epochs": 1.0}
    assert judge(text_signs(losses=falling.tolist(), **one)).causes == ["too-short"]
    assert judge(text_signs(losses=course(2.1, 1.3, 120, steep=12), **one)).verdict == "healthy"
    noisy = 1.5 + np.random.default_rng(1).normal(0, 0.4, 30)
    assert text_signs(losses=noisy.tolist(), **one).late_fall == 0.0


def test_texts_from_scratch_are_held_against_the_first_update():
    stuck = judge(
        text_signs(
            losses=[7.6] * 190, lr=1e-7, base=None, tuned=(7.59, 7.5, 7.7), train_loss=7.6, validation_losses=[7.6, 7.6]
        )
    )
    assert stuck.causes == ["lr-too-low"] and "training began at 7.600" in stuck.message
    learnt = judge(
        text_signs(
            losses=course(7.6, 2.9, 190, steep=9),
            base=None,
            tuned=(3.1, 3.0, 3.2),
            train_loss=2.9,
            validation_losses=[3.3, 3.12, 3.1],
        )
    )
    assert learnt.verdict == "healthy" and "before tuning" not in learnt.message


def test_texts_learnt_by_heart_is_overfitting():
    found = judge(
        text_signs(
            losses=course(2.1, 0.3, 180), train_loss=1.0, tuned=(1.5, 1.3, 1.7), train_rows=20, epochs=30.0,
            validation_losses=[1.9, 1.6, 1.5, 1.7, 2.2],
        )
    )  # fmt: skip
    assert found.verdict == "overfitting" and found.causes == ["too-little-data", "too-many-epochs"]
    assert found.change == "train.epochs=18" and "20 rows, 30 epochs" in found.message
    assert "lowest at epoch 18 and ended 47% above" in found.message
    finding = found.finding()
    assert finding is not None and finding.slug == "overfitting"


def test_texts_many_rows_and_too_many_epochs():
    found = judge(text_signs(train_loss=1.0, epochs=6.0, validation_losses=[1.4, 1.34, 1.4, 1.5]))
    assert found.causes == ["too-many-epochs"] and found.change == "train.epochs=3"


def test_texts_a_rise_or_a_gap_alone_is_not_overfitting_unless_it_is_wide():
    assert judge(text_signs(train_loss=1.0)).verdict == "healthy"
    risen = judge(text_signs(validation_losses=[1.34, 1.38, 1.44]))
    assert risen.verdict == "healthy" and "the epochs after it came to nothing" in risen.message
    wide = judge(text_signs(train_loss=0.5))
    assert (wide.verdict, wide.causes, wide.change) == ("overfitting", ["too-little-data"], "model.dropout=0.1")
    assert judge(text_signs(train_loss=0.5, method="lora")).change == "method.dropout=0.1"


def test_texts_a_wide_interval_is_no_proof():
    assert judge(text_signs(train_loss=0.5, tuned=(1.34, 0.4, 2.3))).verdict == "healthy"


def test_texts_nothing_carried_over_from_rows_that_were_recited():
    found = judge(
        text_signs(
            losses=course(2.1, 0.4, 190),
            tuned=(2.08, 2.0, 2.2),
            train_loss=2.0,
            train_rows=50,
            epochs=10.0,
            validation_losses=[2.09, 2.3, 3.0],
        )
    )
    assert found.verdict == "overfitting" and found.causes == ["too-little-data", "too-many-epochs"]
    assert "training loss fell by 79%" in found.message and found.change == "train.epochs=4"


@pytest.mark.parametrize(
    "losses",
    [
        [2.1, 2.1, *([4.4] * 20), *([1.9] * 160)],  # far above where it began
        [*course(2.1, 1.3, 100, steep=8), *([1.9] * 30)],  # ended far above its low point
        [2.1, 1.9, math.nan, 1.8],
    ],
)
def test_texts_a_loss_that_blew_up_wants_a_lower_rate(losses):
    found = judge(text_signs(losses=losses, lr=1e-2))
    assert (found.verdict, found.causes, found.change) == ("underfitting", ["lr-too-high"], "train.lr=5e-05")


def test_texts_a_huge_rate_that_took_nothing_away_is_too_high():
    assert judge(text_signs(losses=[2.2] * 60, lr=0.1, **NOTHING)).causes == ["lr-too-high"]


def test_texts_without_trained_rows_the_curves_alone_speak():
    found = judge(text_signs(train_loss=None))
    assert found.verdict == "healthy" and "trained rows were not scored" in found.message
    assert judge(text_signs(train_loss=None, losses=[2.1] * 190, lr=1e-7, tuned=(2.1, 2.0, 2.2))).causes == [
        "lr-too-low"
    ]


def test_texts_without_written_answers_or_baselines():
    found = judge(text_signs(metric=None, written={}))
    assert found.verdict == "healthy" and not {"chrf", "best_baseline"} & set(found.evidence)


def test_every_cause_of_texts_has_its_words_and_a_change():
    for ratio, steps, value in itertools.product((1e-3, 1, 50), (4, 20, 60), (0.7, 1.3, 2.1)):
        given = {"losses": [2.1] * steps, "lr": 5e-5 * ratio, "tuned": (value, value - 0.1, value + 0.1)}
        found = judge(text_signs(**given))
        assert found.verdict == "healthy" or (found.change and found.advice and found.message.count(".") > 2)


def test_signs_of_texts_come_from_the_files_of_the_run(tmp_path):
    import invented_run
    from septet.recipe import Recipe

    run = invented_run.write_texts(tmp_path, rows=(60, 20, 30))
    scores = [
        {"split": split, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 30, "who": who}
        for split, who, metric, value in (
            ("test", "tuned", "loss", 1.3), ("test", "base", "loss", 2.6), ("test", "tuned", "bleu", 8.0), ("test", "tuned", "chrf", 40.0),
            ("test", "copy", "chrf", 20.0), ("validation", "tuned", "loss", 1.2), ("train (sample)", "tuned", "loss", 1.1),
        )
    ]  # fmt: skip
    recipe = Recipe.load(run.path / "recipe.yaml")
    found = gather(run, recipe, scores, tests=["test"])
    assert isinstance(found, TextSigns)
    assert (found.tuned[0], found.base, found.start, found.train_loss) == (1.3, 2.6, 2.6, 1.1)
    assert (found.metric, found.best_writer) == ("chrf", ("copy", (20.0, 19.9, 20.1)))
    assert (found.steps, found.epochs, found.lr, found.train_rows) == (190, 5.0, 5e-5, 60)
    assert gather(run, recipe, scores, tests=[]).tuned[0] == 1.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow")  # a rate of 1 leaves states that the profile cannot hold
@pytest.mark.parametrize(
    ("changes", "verdict", "causes"),
    [
        (["train.lr=1e-7", "train.epochs=2"], "underfitting", ["lr-too-low"]),
        (["train.max_steps=3"], "underfitting", ["too-short"]),
        (
            ["data.sample={train: 26}", "train.epochs=30", "train.batch=2"],
            "overfitting",
            ["too-little-data", "too-many-epochs"],
        ),
        (["train.epochs=10"], "healthy", []),
        (["train.lr=1"], "underfitting", ["lr-too-high"]),
    ],
)
def test_runs_of_texts_that_were_planted(tmp_path, changes, verdict, causes):
    import languages
    from septet import journey

    languages.folder(tmp_path / "llama", "llama")
    data = Path(__file__).parents[2] / "recipes" / "data" / "shop_assistant.jsonl"
    source = {
        "data": {"train": str(data)},
        "task": {"name": "generate"},
        "model": str(tmp_path / "llama"),
        "train": {"lr": 3e-3, "epochs": 2, "precision": "fp32", "threads": 1},
        "evaluate": {"written": 4, "bootstrap": 200, "baselines": ["constant"]},
    }
    journey.train(source, changes, run=tmp_path / "run")
    found = journey.evaluate(tmp_path / "run").record["diagnosis"]
    assert (found["verdict"], found["causes"]) == (verdict, causes), found["message"]
