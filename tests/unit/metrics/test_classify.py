"""Every metric equals scikit-learn's on the same rows, also where classes are absent, labels unknown, and rows repeated."""

import numpy as np
import pytest
from sklearn import metrics as sk

from septet import registry
from septet.errors import UsageError
from septet.metrics import Choices, compute, find, higher_is_better, names_of

KINDS = ("plain", "absent", "never predicted", "unknown", "two", "one row", "perfect")


def draw(kind: str, seed: int = 0) -> Choices:
    rng = np.random.default_rng(seed)
    n, k = (1, 3) if kind == "one row" else (300, 2 if kind == "two" else 7)
    targets = rng.integers(0, k, n)
    scores = rng.dirichlet(np.ones(k) * 0.4, n)
    scores[np.arange(n), targets] += rng.random(n) * 0.7
    if kind == "absent":
        targets[targets == 2] = 3
        scores[:, 5] = 1e-9
        targets[targets == 5] = 1
    if kind == "never predicted":
        scores[:, 4] = 1e-9
    if kind == "unknown":
        targets[rng.random(n) < 0.2] = -1
    if kind == "perfect":
        scores[np.arange(n), targets] += 5
    scores /= scores.sum(1, keepdims=True)
    return Choices(np.arange(n), [f"l{i}" for i in range(k)], targets, scores)


def occurring(answers: Choices) -> list[int]:
    return sorted({*answers.targets[answers.targets >= 0].tolist(), *answers.predicted.tolist()})


@pytest.mark.parametrize("kind", KINDS)
def test_counts_equal_sklearn(kind):
    answers = draw(kind)
    y, p, labels = answers.targets, answers.predicted, occurring(answers)
    present = sorted(set(y[y >= 0].tolist()))
    options = {"labels": labels, "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y, p),
        "balanced_accuracy": sk.recall_score(y, p, average="macro", labels=present, zero_division=0),
        "mcc": sk.matthews_corrcoef(y, p),
    }
    for name in ("precision", "recall", "f1"):
        score = getattr(sk, f"{name}_score")
        expected[name] = score(y, p, average="macro", **options)
        expected[f"{name}_micro"] = score(y, p, average="micro", **options)
        expected[f"{name}_weighted"] = score(y, p, average="weighted", **options)
        for place, value in zip(labels, score(y, p, average=None, **options), strict=True):
            expected[f"{name}[l{place}]"] = value
    assert compute(list(expected), answers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "absent", "two", "never predicted", "perfect"])
def test_probabilities_equal_sklearn(kind):
    answers = draw(kind)
    places = list(range(len(answers.labels)))
    found = compute(["log_loss", "brier"], answers)
    assert found["log_loss"] == pytest.approx(sk.log_loss(answers.targets, answers.scores, labels=places), rel=1e-9)
    onehot = np.eye(len(places))[answers.targets]
    assert found["brier"] == pytest.approx(((answers.scores - onehot) ** 2).sum(1).mean(), rel=1e-9)


def test_log_loss_leaves_unknown_labels_out_and_says_so():
    answers = draw("unknown")
    known = np.flatnonzero(answers.targets >= 0)
    expected = sk.log_loss(answers.targets[known], answers.scores[known], labels=list(range(7)))
    assert compute(["log_loss"], answers)["log_loss"] == pytest.approx(expected)
    assert answers.num_rows("log_loss") == len(known) < answers.num_rows("accuracy") == 300


def test_a_certain_mistake_costs_36_nats():
    answers = Choices(np.arange(1), ["a", "b"], np.array([1]), np.array([[1.0, 0.0]]))
    assert compute(["log_loss"], answers)["log_loss"] == pytest.approx(36.04, abs=0.01)


@pytest.mark.parametrize("name", names_of("choices"))
@pytest.mark.parametrize("kind", ["plain", "absent", "unknown", "two"])
def test_weights_are_repeated_rows(name, kind):
    answers = draw(kind)
    rng = np.random.default_rng(3)
    index = rng.integers(0, len(answers), (4, len(answers)))
    weights = np.stack([np.bincount(i, minlength=len(answers)) for i in index]).astype(float)
    expected = [compute([name], answers.take(i))[name] for i in index]
    assert np.nan_to_num(find(name)(answers.weighted(weights))) == pytest.approx(np.array(expected), abs=1e-12)


def test_weights_of_a_class_metric():
    answers = draw("plain")
    doubled = answers.take(np.repeat(np.arange(300), 2))
    weights = np.full((1, 300), 2.0)
    assert find("f1[l3]")(answers.weighted(weights))[0] == pytest.approx(compute(["f1[l3]"], doubled)["f1[l3]"])


def test_a_label_may_hold_brackets():
    answers = Choices(np.arange(2), ["a", "b[1]"], np.array([0, 1]), np.eye(2))
    assert compute(["recall[b[1]]"], answers) == {"recall[b[1]]": 1.0}


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(UsageError, match="did you mean accuracy"):
        compute(["acuracy"], draw("plain"))
    with pytest.raises(UsageError, match="labels are l0"):
        compute(["f1[nothing]"], draw("plain"))
    with pytest.raises(UsageError, match=r"precision\[l0\]"):
        compute(["accuracy[l0]"], draw("plain"))
    with pytest.raises(UsageError, match="no row"):
        compute(["accuracy"], draw("plain").take(np.array([], dtype=int)))


def test_metrics_are_registered_by_function_with_their_first_line():
    names = registry.names("metric")
    assert {"accuracy", "f1", "f1_micro", "log_loss", "calibration_error", "brier", "mcc"} <= set(names)
    assert not {"interval", "classify", "calibrate", "compute", "reliability"} & set(names)
    assert all(registry.summary("metric", name).endswith((".", "2.", ")")) for name in names)
    assert registry.part("metric", "f1")(draw("perfect")) == pytest.approx(1.0)
    assert higher_is_better("f1") and not higher_is_better("log_loss") and higher_is_better("recall[x]")


def test_a_metric_from_a_users_file(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_codes", {})  # forgotten afterwards
    file = tmp_path / "error_rate.py"
    file.write_text(
        "from septet.metrics import metric\nkind = 'metric'\n\n@metric(low=0, high=1, better='lower')\n"
        "def error_rate(answers):\n    'Share of wrong answers.'\n    return 1 - answers.correct.mean()\n"
    )
    registry.load_code(file)
    answers = draw("plain")
    assert compute(["error_rate"], answers)["error_rate"] == pytest.approx(
        1 - compute(["accuracy"], answers)["accuracy"]
    )
    assert registry.summary("metric", "error_rate") == "Share of wrong answers."
    from septet.metrics.interval import intervals

    slow = intervals(["error_rate"], answers, resamples=100)[0]
    quick = intervals(["accuracy"], answers, resamples=100)[0]
    assert (slow.low, slow.high) == pytest.approx((1 - quick.high, 1 - quick.low))
