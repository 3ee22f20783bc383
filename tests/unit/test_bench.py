"""The arithmetic of bench/: what counts, in which order, and the intervals. No timing and no training here."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from bench import classify, ground, ours, plot, rows, score, seeds, sft, sft_quality, sides, table  # noqa: E402
from bench.__main__ import main  # noqa: E402
from bench.jobs import (  # noqa: E402
    BENCH_RECIPES,
    Job,
    Learning,
    SftTuning,
    Tuning,
    in_turn,
)
from bench.launch import JobError  # noqa: E402
from bench.ours import without_validation  # noqa: E402
from bench.resample import difference  # noqa: E402
from bench.search import candidates, pack_length, search, sft_candidates  # noqa: E402
from bench.speed import Spread, Timing, ceiling_share, examples_per_s, ratio  # noqa: E402
from septet.errors import SeptetError  # noqa: E402
from septet.metrics import Choices, Texts  # noqa: E402
from septet.recipe import Recipe  # noqa: E402
from septet.run import Run  # noqa: E402

LABELS = ["a", "b"]


def answers(right: np.ndarray) -> Choices:
    """Rows of two classes in turn, each answered right or not."""
    targets = np.arange(len(right)) % 2
    given = np.where(right, targets, 1 - targets)
    return Choices(np.arange(len(right)), LABELS, targets, np.eye(2)[given] * 0.8 + 0.1)


def wrong_at(n: int, *places: int) -> Choices:
    right = np.ones(n, dtype=bool)
    right[list(places)] = False
    return answers(right)


# ---- order ----


def test_sides_are_measured_in_turn():
    assert in_turn(["a", "b"], 3) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_compared_sides_stand_beside_each_other_and_learn_alike():
    base = Job("trainer", "", "w", "r.yaml")
    sides = classify.jobs(base, Learning(64, 2e-4, 1.0, 7), Tuning(sampling="group_by_length"))
    assert [side.kind for side in sides] == ["trainer", "septet", "trainer", "septet", "septet"]
    assert sides[0].learning == sides[1].learning
    assert sides[2].learning == sides[3].learning
    assert [side.learning and side.learning.batch for side in sides] == [8, 8, 64, 64, None]


# ---- speed ----


def test_warm_up_updates_count_neither_in_rows_nor_in_time():
    made = [(8, 100, 120)] * 3 + [(8, 50, 60), (4, 30, 30)]
    timing = Timing.of([1.0, 2.0, 3.0, 3.5, 4.0], made)
    assert timing == Timing(updates=2, rows=12, tokens=80, padded=90, seconds=1.0)
    assert timing.to_json()["rows_per_s"] == 12


def test_batches_made_ahead_of_the_last_update_do_not_count():
    assert Timing.of([1.0, 2.0, 3.0, 4.0], [(8, 10, 10)] * 9).rows == 8


def test_a_run_that_is_all_warm_up_is_an_error():
    with pytest.raises(ValueError, match="use more rows"):
        Timing.of([1.0, 2.0, 3.0], [(8, 10, 10)] * 3)


def test_the_clock_stands_still_during_validations():
    # updates end at 2, 3, 10 and 11; the third took 1 s of its own after a validation of 6 s
    assert without_validation([2.0, 3.0, 10.0, 11.0], {2}, [0.9, 0.9, 1.0, 0.9]) == [0.9, 1.9, 2.9, 3.9]


def test_examples_are_counted_by_tokens_so_that_leaving_out_long_rows_gains_nothing():
    even = {"tokens": 1000, "seconds": 10.0, "rows": 40}
    short_rows_only = {"tokens": 1000, "seconds": 10.0, "rows": 80}
    assert examples_per_s(even, 25.0) == examples_per_s(short_rows_only, 25.0) == 4.0


def test_share_of_the_ceiling():
    # 10 rows/s x 20 tokens x 1e9 operations of 400 GFLOP/s
    assert ceiling_share(10.0, tokens_per_row=20.0, flops_per_token=1e9, gflops=400.0) == pytest.approx(0.5)


def test_ratios_pair_the_repeats():
    assert ratio([10.0, 30.0, 20.0], [5.0, 10.0, 20.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_search_tries_bf16_only_where_it_gains():
    slow, fast = list(candidates(0.2, length=128)), list(candidates(2.0, length=128))
    assert {tuning.precision for _, tuning in slow} == {"fp32"}
    assert {tuning.precision for _, tuning in fast} == {"fp32", "bf16"}
    assert {tuning.precision for _, tuning in candidates(5.0, length=128)} == {"bf16"}
    assert len(set(slow)) == len(slow) == 8
    assert len(list(candidates(0.2, length=128, compiled=True))) == 16


@pytest.fixture
def machine(monkeypatch):
    """A machine on which each process answers at once: seconds by rows per update and order; eager attention does not run."""
    told: list[Job] = []
    cpu = {"name": "A CPU", "cores": 2, "flags": []}
    versions = dict.fromkeys(("septet", "torch", "transformers", "accelerate"), "1")
    facts = {
        "machine": {"cpu": cpu, "accelerators": [], "versions": versions},
        "ceiling_gflops": {"fp32": 100.0, "bf16": 20.0, "tokens": 1024, "hidden": 384, "inner": 1536},
        "best_gflops": 100.0,
        "bf16_gain": 0.2,
        "threads": 2,
        "flops_per_token": 1e7,
        "tokens_per_row": 10.0,
        "date": "today",
    }

    def launch(job: Job) -> dict:
        told.append(job)
        if job.tuning.attention == "eager":
            raise JobError("it does not run")
        batch = 16 if job.learning is None or job.learning.batch is None else job.learning.batch
        seconds = 100.0 / batch / (2 if job.tuning.sampling == "group_by_length" or job.kind == "septet" else 1)
        timing = {"tokens": 1000, "seconds": seconds, "rows": 100, "updates": 10}
        settings = {"bf16": True, "gradient_checkpointing": True, "attention": "sdpa"}
        found = {
            "settings": settings,
            "timing": timing,
            "peak_bytes": 2**30,
            "wall_s": 5.0,
            "start_s": 1.0,
            "updates": 9,
        }
        score = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 100}
        return {**found, "scores": {"test": {"accuracy": score, "f1": score, "loss": score}}} if job.score else found

    ready = ({"splits": {"train": 3000, "test": 100}, "sha256": {}, "prepared": "p"}, facts)
    monkeypatch.setattr(sides, "launch", launch)
    monkeypatch.setattr("bench.search.launch", launch)
    monkeypatch.setattr(rows, "ready", lambda *_: ready)
    return told


def options(work: Path, *, search: bool) -> classify.Options:
    return classify.Options("tweets", 3, 3000, None, 100, 1.0, 42, search, 640, False, 32, Tuning(), True, work)


def test_the_search_gives_trainer_its_fastest_settings_and_records_all(machine, tmp_path):
    result = classify.measure(options(tmp_path, search=True), lambda text: None)
    assert len(result["search"]) == 8
    assert sum("error" in tried for tried in result["search"]) == 4
    best = [job for job in machine if job.name == "trainer-best"]
    assert len(best) == 3
    assert best[0].tuning == Tuning(sampling="group_by_length", attention="sdpa")
    assert best[0].learning is not None and best[0].learning.batch == 64
    assert "fastest of 8 settings tried" in classify.text(result)


def test_the_table_has_every_side_with_ratios_of_the_right_pairs(machine, tmp_path):
    result = classify.measure(options(tmp_path, search=False), lambda text: None)
    order = [job.name for job in machine]
    sides = ["trainer-default", "septet, batch 8", "trainer-best", "septet, batch 32", "septet, own defaults"]
    assert order == [*sides, *sides[::-1], *sides, "article"]
    assert result["sides"][0]["examples_per_s"] == {"median": 8.0, "low": 8.0, "high": 8.0, "n": 3}
    assert {name: r["median"] for name, r in result["ratios"].items()} == {
        "septet, batch 8 / trainer-default": 2.0,
        "septet, batch 32 / trainer-best": 2.0,
        "septet, own defaults / trainer-default": 4.0,
        "septet, own defaults / trainer-best": 1.0,
    }
    lines = classify.text(result).split("\n")
    assert [line.split("|")[1].strip() for line in lines[2:8]] == [*sides, "article"]
    assert [cell.strip() for cell in lines[7].split("|")[6:9]] == ["-", "-", "-"]
    json.dumps(result)
    assert plot.draw(result, tmp_path / "p.svg").read_text().count("<svg") == 1


# ---- quality ----


def test_the_difference_is_that_of_the_means_over_seeds():
    ours, theirs = [wrong_at(100), wrong_at(100, 1, 2)], [wrong_at(100, *range(4)), wrong_at(100, *range(6))]
    found = difference("accuracy", ours, theirs)
    assert found.ours == pytest.approx(0.99)
    assert found.theirs == pytest.approx(0.95)
    assert found.value == pytest.approx(0.04)
    assert found.low < 0.04 < found.high
    assert (found.rows, found.seeds) == (100, 2)


def test_equal_systems_differ_by_nothing():
    same = [wrong_at(200, *range(30))] * 3
    found = difference("accuracy", same, same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_rows_are_paired_and_seeds_are_not():
    # the same rows wrong on both sides: only the seeds can spread the difference
    spread = [wrong_at(100, *range(k)) for k in (0, 10, 20)]
    found = difference("accuracy", spread, spread)
    assert found.value == 0.0
    assert found.low < -0.05
    assert found.high > 0.05


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(100):
        ours, theirs = answers(rng.random(300) < 0.9), answers(rng.random(300) < 0.9)
        found = difference("accuracy", [ours], [theirs], resamples=300, seed=trial)
        inside += found.low <= 0 <= found.high
    assert 88 <= inside <= 100


def test_systems_that_answered_other_rows_are_refused():
    with pytest.raises(ValueError, match="different rows"):
        difference("accuracy", [wrong_at(10)], [wrong_at(11)])


def test_several_test_splits_are_compared_together_and_apart():
    two = {"test.x": wrong_at(10), "test.y": wrong_at(30, 0, 1, 2)}
    found = seeds.compared([two], [two])
    assert list(found) == ["all", "test.x", "test.y"]
    assert found["all"]["accuracy"].rows == 40
    assert found["all"]["accuracy"].ours == pytest.approx(37 / 40)
    assert list(seeds.compared([{"test": wrong_at(10)}], [{"test": wrong_at(10)}])) == ["test"]


def test_answers_come_back_from_their_file(tmp_path):
    kept = {"test": wrong_at(20, 3), "test.more": wrong_at(6, 1)}
    score.save(tmp_path / "a.npz", kept)
    found = score.load(tmp_path / "a.npz")
    assert list(found) == list(kept)
    for split, each in kept.items():
        assert found[split].labels == LABELS
        assert (found[split].predicted == each.predicted).all()
        assert (found[split].targets == each.targets).all()


def test_a_kept_run_is_found_by_what_changes_its_result_and_nothing_else():
    job = Job("trainer", "x", "here", "r.yaml", learning=Learning(64, 2e-4, 6.0, 42))
    moved = Job("trainer", "x", "there", "r.yaml", launched=5.0, learning=job.learning)
    other = Job("trainer", "x", "here", "r.yaml", learning=Learning(64, 2e-4, 6.0, 43))
    assert seeds.key(job, "code") == seeds.key(moved, "code")
    assert len({seeds.key(job, "code"), seeds.key(other, "code"), seeds.key(job, "other code")}) == 3


def test_runs_that_were_kept_before_there_was_a_second_peer_are_found():
    learning = Learning(64, 2e-4, 6.0, 42)
    job = Job("trainer", "x", "here", "r.yaml", ("data.sample.test=auto",), "p", learning, Tuning(length=64))
    job = replace(job, validate=True, score=True)
    assert seeds.key(job, {"train": "a"}, {"torch": "2"}, "code") == "c781caf1d35c"


def test_a_kept_run_rests_on_the_code_and_the_packages_of_its_own_side(tmp_path, monkeypatch):
    versions = {"torch": "2", "transformers": "5", "accelerate": "1", "trl": "1"}
    (tmp_path / "r.yaml").write_text("")
    names = {kind: Job(kind, "x", "here", str(tmp_path / "r.yaml")) for kind in ("trainer", "trl", "septet")}
    before = {kind: seeds.kept_as(job, versions, {}) for kind, job in names.items()}
    after = {kind: seeds.kept_as(job, {**versions, "trl": "2"}, {}) for kind, job in names.items()}
    assert {kind for kind in names if before[kind] != after[kind]} == {"trl"}
    monkeypatch.setitem(seeds.CODE, "trainer", ("trainer.py", "speed.py"))
    assert seeds.kept_as(names["trainer"], versions, {}) != before["trainer"]


# ---- jobs, tables, recipes ----


def test_a_job_survives_json():
    job = Job("septet", "x", "w", "r.yaml", ("data.sample.train=5",), learning=Learning(8, 5e-5, 1.0, 42), rows=3)
    assert Job.from_json(job.to_json()) == job


def test_learning_becomes_overrides_that_a_recipe_takes():
    learning = Learning(8, 5e-5, 2.0, 7, warmup=0.0, weight_decay=0.0)
    source = {"data": {"train": "t.csv"}, "task": {"name": "classify", "text": "a", "label": "b"}, "model": "starter"}
    train = Recipe.load(source, learning.overrides()).train
    assert (train.batch, train.lr, train.epochs, train.seed) == (8, 5e-5, 2.0, 7)
    assert (train.warmup, train.weight_decay, train.clip) == (0.0, 0.0, 1.0)
    own = Recipe.load(source, Learning(None, None, 1.0, 7, clip=None).overrides()).train
    assert (own.batch, own.lr, own.clip) == (None, None, None)


def test_the_table_aligns():
    lines = table.markdown(["side", "n"], [["a long name", "1"], ["b", "1,000"]]).split("\n")
    assert lines[0] == "| side        |     n |"
    assert lines[1] == "| ----------- | ----: |"
    assert lines[3] == "| b           | 1,000 |"


def test_a_result_is_named_by_date_subject_and_machine(tmp_path):
    cpu = {"name": "Intel(R) Xeon(R) Processor @ 2.50GHz", "cores": 2}
    path = table.stem("classify-tweets", {"machine": {"cpu": cpu, "accelerators": []}}, tmp_path)
    assert path.name.endswith("-classify-tweets-intel-xeon-processor-2-cores")
    files = table.keep(path, {"a": 1}, "text")
    assert json.loads(files[0].read_text()) == {"a": 1}


@pytest.mark.parametrize("name", ["tweets", "banking77", "sst2"])
def test_the_recipes_fix_what_both_sides_must_share(name):
    recipe = rows.recipe_file(name)
    learning = rows.learning_of(recipe, seed=3)
    assert learning.batch and learning.lr and learning.epochs
    assert learning.seed == 3
    assert rows.length_of(recipe) == 128
    drawn = rows.overrides(recipe, train=100, validation=10, test=20)
    assert "data.sample.train=100" in drawn
    assert ("data.sample.validation=10" in drawn) == (name == "tweets")
    Recipe.load(recipe, list(drawn))


def test_all_rows_of_a_split_can_be_asked_for():
    drawn = rows.overrides(rows.recipe_file("tweets"), train=None, validation=None, test="all")
    assert drawn == ("data.sample.test=auto",)
    sample = Recipe.load(rows.recipe_file("tweets"), list(drawn)).data.sample
    assert sample is not None
    assert (sample.test, sample.train is None) == (None, False)
    assert rows.overrides(rows.recipe_file("banking77"), train=None, validation=None, test="all") == ()


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises((FileNotFoundError, SeptetError), match="no recipe"):
        rows.recipe_file("no-such-data")


# ---- instruction tuning ----


FACTS = {"tokens_per_row": 160.0, "supervised_per_row": 100.0, "longest_row": 400, "bf16_gain": 2.0}
LINES = [
    f'{{"question": "What is {i} and {i + 2}?", "answer": "{i} + {i + 2} = {2 * i + 2}\\nIt is {2 * i + 2}."}}'
    for i in range(240)
]
RECIPE = """
data: {train: rows.jsonl, split: {validation: 0.1, test: 0.2}}
task: {name: generate, template: chatml}
model: {architecture: llama, vocabulary: {size: 320, chat: true}, layers: 2, hidden: 32, heads: 2, inner: 64, config: {max_position_embeddings: 96, tie_word_embeddings: true}}
train: {epochs: 1, batch: 8, lr: 1e-3}
"""
# a row that spells a special token, which Septet keeps text, and one that is too long
ODD = """
{"question": "What does <|im_end|> mean?", "answer": "The end."}
{"question": "Why?", "answer": "LONG"}
""".replace("LONG", "because " * 90)


def losses(values: list[float]) -> Texts:
    n = len(values)
    return Texts(np.arange(n), [f"answer {i} é" for i in range(n)], None, np.array(values) * 10, np.full(n, 10))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe of tiny rows, some of which the two sides do not read alike."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "rows.jsonl").write_text("\n".join(LINES) + ODD)
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def sifted(recipe, tmp_path_factory) -> Job:
    """A job of the peer on sifted rows, as `ground` makes it, without processes of their own."""
    from bench.facts import prepare
    from bench.sift import sift

    work = tmp_path_factory.mktemp("work")
    (work / "sift").mkdir()
    found = sift(Job("sift", "sift", str(work / "sift"), str(recipe)))
    assert sum(found["kept"].values()) == len(LINES)
    reasons = {reason: n for each in found["left_out"].values() for reason, n in each.items()}
    assert reasons == {"other tokens on the two sides": 1, "longer than 96 tokens": 1}
    prepared = prepare(Job("prepare", "prepare", str(work / "prepare"), found["recipe"]))
    assert prepared["splits"] == found["kept"]
    learning = rows.learning_of(Path(found["recipe"]))
    tuning = SftTuning(length=96)
    return Job("trl", "x", str(work / "x"), found["recipe"], (), prepared["prepared"], learning=learning, tuning=tuning)


def test_the_sides_of_sft_are_pairs_that_learn_alike():
    base = Job("trl", "", "w", "r.yaml", tuning=SftTuning(length=512))
    best = SftTuning("bf16", "group_by_length", length=512, checkpointing=False)
    made = sides.five(base, Learning(8, 2e-5, 1.0, 7), Learning(16, 1e-3, 1.0, 7), best, sft.NAMES)
    assert [job.kind for job in made] == ["trl", "septet", "trl", "septet", "septet"]
    assert made[0].learning == made[1].learning
    assert made[2].learning == made[3].learning
    assert (made[0].tuning, made[2].tuning) == (base.tuning, best)
    ours = [job for job in map(sft.compiled, made) if "train.compile=true" in job.overrides]
    assert [job.name for job in ours] == [sft.NAMES[1], sft.NAMES[3], sft.NAMES[4]]
    fp32 = sft.in_fp32(made[0])
    assert (fp32.tuning.precision, fp32.rows, fp32.max_steps, fp32.score) == ("fp32", 160, 20, False)


def test_each_trial_has_rows_for_its_warmup_and_as_many_again(monkeypatch):
    asked = []

    def launched(trial):
        asked.append((trial.learning.batch, trial.rows))
        return {"timing": {"tokens": 100, "seconds": trial.learning.batch}, "peak_bytes": 1}

    monkeypatch.setattr("bench.search.launch", launched)
    job = Job("trl", "", "w", "r.yaml", warmup=10)
    settings = [(8, SftTuning()), (32, SftTuning())]
    facts = {"tokens_per_row": 10}
    batch, _, tried = search(job, Learning(16, 1e-3, 1.0, 7), facts, settings, rows=256, say=lambda _: None)
    assert (batch, len(tried)) == (8, 2)
    assert asked == [(8, 256), (32, 640)]


def test_a_side_of_septet_is_timed_after_the_warmup_of_its_job(tmp_path, monkeypatch):
    (tmp_path / "prepared").mkdir()

    def trained(_recipe, _overrides, *, run, listen):
        run.mkdir()
        for name, value in (("data.json", {"prepared": str(tmp_path / "prepared")}), ("recipe.yaml", {})):
            (run / name).write_text(json.dumps(value))
        made = [{"seconds": 1.0, "rows": 2, "tokens": 20}] * 12
        (run / "steps.jsonl").write_text("".join(json.dumps(each) + "\n" for each in made))
        for _ in made:
            listen("step")
        return SimpleNamespace(run=Run(run), steps=12, costs={"padding_share": 0.0}, best=None)

    monkeypatch.setattr("septet.journey.train", trained)
    job = Job("septet", "x", str(tmp_path / "x"), "r.yaml", prepared=str(tmp_path / "prepared"), warmup=10)
    assert ours.train(job)["timing"]["updates"] == 2
    shutil.rmtree(job.run)
    assert ours.train(replace(job, warmup=12))["timing"] is None


def test_a_job_of_sft_survives_json():
    job = Job("trl", "x", "w", "r.yaml", tuning=SftTuning("bf16", layout="packed", length=2000, checkpointing=False))
    assert Job.from_json(job.to_json()) == job


def test_the_search_of_sft_tries_every_layout_and_no_table_of_all_tokens():
    tried = list(sft_candidates(FACTS, length=512))
    assert len(tried) == len(set(tried)) == 2 * 2 * 4
    assert {tuning.layout for _, tuning in tried} == {"padded", "padding-free", "packed"}
    assert {tuning.attention for _, tuning in tried if tuning.layout != "padded"} == {"sdpa"}
    assert {tuning.checkpointing for _, tuning in tried} == {False}
    assert {tuning.precision for _, tuning in sft_candidates({**FACTS, "bf16_gain": 0.3}, length=512)} == {"fp32"}
    assert len(list(sft_candidates(FACTS, length=512, compiled=True))) == 2 * len(tried)


def test_a_pack_holds_the_rows_of_an_update_and_the_longest():
    assert pack_length(8, FACTS) == 8 * 160
    assert pack_length(2, FACTS) == 400
    assert {t.length for b, t in sft_candidates(FACTS, length=512) if b == 16} == {512, 16 * 160}


@pytest.fixture
def sft_machine(machine, monkeypatch) -> list[Job]:
    """The machine of above, where both sides of sft are ready."""
    asked = (rows.ready("", (), "")[1] | FACTS) | {"model": {"parameters": 30_000_000}}
    splits = {"train": 800, "validation": 100, "test": 200}
    stands = {
        "splits": splits,
        "sha256": {},
        "kept": splits,
        "left_out": {"train": {"longer than 512 tokens": 3}, "test": {}},
        "length": 512,
        "matched": {"rows": 200, "supervised_tokens": 20000, "tokens": 32000},
    }

    def ready(*_, **__):
        base = Job("trl", "", "w", str(BENCH_RECIPES / "gsm8k_train.yaml"), tuning=SftTuning(length=512))
        return ground.Ground(Path(base.recipe), base, stands, asked, stands, stands["matched"])

    monkeypatch.setattr(sft, "ground", ready)
    return machine


def sft_options(work: Path, *, search: bool) -> sft.Options:
    tuning = SftTuning("bf16", "group_by_length", "sdpa", checkpointing=False)
    return sft.Options("gsm8k_train", 2, 800, 100, 200, 1.0, 42, search, 256, False, 16, tuning, True, work)


def test_the_table_of_sft_has_tokens_ratios_and_what_was_left_out(sft_machine, tmp_path):
    result = sft.measure(sft_options(tmp_path, search=False), lambda text: None)
    names = [*sft.NAMES, sft.IN_FP32]
    assert [job.name for job in sft_machine] == names + names[::-1]
    speeds = {side["name"]: side["tokens_per_s"]["median"] for side in result["sides"]}
    # 1,000 tokens in 100 s / rows an update, half of it for Septet and for rows grouped by length
    assert speeds["trl-default"] == pytest.approx(80)
    assert speeds["septet as trl-default"] == pytest.approx(160)
    assert speeds["trl-best"] == speeds["septet as trl-best"] == pytest.approx(320)
    first = result["sides"][0]
    assert first["supervised_per_s"]["median"] == pytest.approx(80 * 100 / 160)
    # 80 tokens/s x 1e7 operations of 100 GFLOP/s
    assert first["ceiling_share"]["median"] == pytest.approx(80 * 1e7 / 100e9)
    assert result["ratios"]["septet as trl-default / trl-default"]["median"] == 2.0
    told = sft.text(result)
    assert "3 of train (longer than 512 tokens)" in told
    assert "200 rows, 20,000 tokens" in told
    assert "as it comes, bf16 True, gradient_checkpointing True, attention sdpa" in told
    assert [line.split("|")[1].strip() for line in told.split("\n")[2:8]] == [*sft.NAMES, sft.IN_FP32]
    assert f"{sft.NAMES[1]} / {sft.IN_FP32}" in told
    json.dumps(result)
    assert plot.draw(result, tmp_path / "p.svg").read_text().count("<svg") == 1


def test_the_plot_keeps_its_labels_from_the_edge_and_counts_one_epoch(sft_machine, tmp_path):
    from PIL import Image, ImageOps

    result = sft.measure(sft_options(tmp_path, search=False), lambda text: None)
    assert "800 rows, 1 epoch, median" in plot.draw(result, tmp_path / "p.svg").read_text()
    with Image.open(plot.draw(result, tmp_path / "p.png")) as drawn:
        left, top, right, bottom = ImageOps.invert(drawn.convert("L")).getbbox()
        assert min(left, drawn.width - right) >= 15 and min(top, drawn.height - bottom) >= 5
    result["options"]["epochs"] = 1.5
    assert "1.5 epochs" in plot.draw(result, tmp_path / "p.svg").read_text()


def test_what_does_not_run_is_told_with_its_error(sft_machine, tmp_path):
    result = sft.measure(sft_options(tmp_path, search=True), lambda text: None)
    assert len(result["search"]) == 16
    told = sft.text(result)
    assert "the fastest of 16 settings tried; 4 did not run" in told
    assert told.count("did not run: batch") == 4
    assert "it does not run" in told
    best = next(job for job in sft_machine if job.name == "trl-best")
    assert (best.learning.batch, best.tuning.sampling) == (32, "group_by_length")


def test_losses_are_compared_over_rows_and_seeds():
    ours, theirs = [{"test": losses([1.0, 2.0, 3.0])}] * 2, [{"test": losses([1.5, 2.5, 3.5])}] * 2
    found = seeds.compared(ours, theirs)["test"]
    assert list(found) == ["loss"]
    assert (found["loss"].ours, found["loss"].value) == (pytest.approx(2.0), pytest.approx(-0.5))
    assert (found["loss"].low, found["loss"].high) == (pytest.approx(-0.5), pytest.approx(-0.5))


def test_losses_come_back_from_their_file(tmp_path):
    kept = {"test.a": losses([1.0, 2.0]), "test.b": losses([3.0])}
    score.save(tmp_path / "a.npz", kept)
    found = score.load(tmp_path / "a.npz")
    assert found["test.a"].references == kept["test.a"].references
    together = score.pool(list(found.values()))
    assert together.losses.tolist() == [10.0, 20.0, 30.0]
    assert len(together.references) == len(together) == 3


def test_the_table_of_losses_says_whether_ours_is_no_worse(sft_machine):
    differences = {
        "test": {"loss": {"rows": 200, "ours": 2.0, "theirs": 2.005, "value": -0.005, "low": -0.02, "high": 0.019}}
    }
    runs = {side: [{"scores": {"test": {"loss": {"value": 2.0}}}}] for side in ("trl", "septet")}
    stands = sft.ground()
    result = {
        "options": {"data": "gsm8k_train", "seeds": [42], "model": "starter-lm"},
        "facts": stands.facts,
        "rows": stands.to_json(),
        "splits": {"train": 800},
        "learning": {"epochs": 3.0, "batch": 32, "lr": 1e-3},
        "differences": differences,
        "runs": runs,
    }
    line = sft_quality.text(result).split("\n")[2]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "test", "200", "2.0000", "2.0050", "-0.0050", "-0.0200 to +0.0190", "-0.25% (-1.00% to +0.95%)", "yes",
    ]  # fmt: skip
    assert "`python -m bench sft --quality --data gsm8k_train --model starter-lm`" in sft_quality.text(result)


@pytest.mark.parametrize("path", sorted(BENCH_RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_bench_fix_what_both_sides_must_share(path):
    recipe = Recipe.load(rows.recipe_file(path.stem, BENCH_RECIPES))
    learning = rows.learning_of(path)
    assert learning.batch and learning.lr and learning.epochs
    assert recipe.task.template == "chatml"
    assert recipe.model.vocabulary.chat


def test_rows_that_the_sides_read_otherwise_are_left_out_and_the_rest_is_prepared_whole(sifted):
    found = Recipe.load(sifted.recipe)
    assert found.model.max_length == 96
    assert found.task.prompt == "question"


def test_supervised_tokens_are_those_of_trl(sifted, monkeypatch):
    trl_sft = pytest.importorskip("bench.trl_sft", reason="needs the extra bench: trl is not installed")
    job = replace(sifted, kind="match", rows=24)
    found = trl_sft.match(job)
    assert found["rows"] == 24
    assert 0 < found["supervised_tokens"] < found["tokens"]
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Something else."}]
    monkeypatch.setattr(trl_sft.Reader, "messages", lambda self, row: said)
    with pytest.raises(ValueError, match="other supervised tokens"):
        trl_sft.match(job)


@pytest.mark.slow
def test_both_sides_of_sft_run_on_tiny_rows(recipe, tmp_path):
    pytest.importorskip("trl", reason="needs the extra bench: trl is not installed")
    work = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    # thirteen updates of sixteen rows: the first ten are not timed
    few = ["--data", str(recipe), "--rows", "208", "--validation-rows", "8", "--test-rows", "8"]
    assert (
        main(["sft", *few, *work, "--repeats", "1", "--batch", "8", "--layout", "packed", "--precision", "fp32"]) == 0
    )
    (found,) = (tmp_path / "results").glob("*-sft-tiny-*.json")
    result = json.loads(found.read_text())
    losses = {side["name"]: side["loss"] for side in result["sides"]}
    assert losses["trl-default"]["value"] == pytest.approx(losses["septet as trl-default"]["value"], abs=0.05)
    assert all(side["tokens_per_s"]["median"] > 0 for side in result["sides"])
    assert main(["sft", "--quality", *few, *work, "--seeds", "1", "--precision", "fp32"]) == 0
    (found,) = (tmp_path / "results").glob("*-sft-quality-tiny-*.json")
    assert json.loads(found.read_text())["differences"]["test"]["loss"]["rows"] == 8
    assert main(["sft", "--quality", *few, *work, "--seeds", "1", "--precision", "fp32", "--model", "starter-lm"]) == 0
    (found,) = (tmp_path / "results").glob("*-sft-quality-tiny-starter-lm-*.json")
    result = json.loads(found.read_text())
    assert (result["options"]["model"], result["facts"]["model"]["parameters"]) == ("starter-lm", 9_244_032)
