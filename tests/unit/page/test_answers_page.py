"""`report.html` of a run that answers with texts: samples side by side, losses with their direction, nothing about labels."""

import re
from xml.etree import ElementTree

import pytest
from reader import Reader, page_of

import invented_run
from septet.evaluate import evaluate
from septet.page import answers, report, verdict, words

EVIL = '<script>alert(1)</script> </p></details> " & \u202egnirts'
CHEAP = "evaluate.baselines=[constant, copy]"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        invented_run.writing(patch)
        run = invented_run.write_texts(tmp_path_factory.mktemp("run"))
        evaluate(run)
        yield run


def evaluated(tmp_path, monkeypatch, *overrides, test=None, **skill):
    invented_run.writing(monkeypatch, **skill)
    run = invented_run.write_texts(tmp_path, rows=(60, 20, 30), overrides=(CHEAP, *overrides), test=test)
    evaluate(run)
    return run


def raw_of(run) -> str:
    return (run.path / "report.html").read_text()


def test_it_has_samples_and_nothing_about_labels(run):
    page = page_of(run)
    ids = [value for name, value in page.attributes if name == "id"]
    assert ids[0] == "samples" and {"diagnosis", "learning", "scores", "hardest", "findings", "recipe"} <= set(ids)
    assert not {"labels", "confusion", "confidence", "mistakes"} & set(ids)
    assert {value[1:] for name, value in page.attributes if name == "href"} == {*ids, "data.html"[1:]}
    assert not any("labels" in word for word in page.words[: page.words.index("Recipe")])


def test_it_loads_nothing_and_its_drawings_are_well_formed(run):
    raw = raw_of(run)
    page = Reader(raw)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert any(value and "default-src 'none'" in value for _, value in page.attributes)
    assert ".beside-each {" in raw
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", raw)
    drawings = re.findall(r"<svg.*?</svg>", raw, re.S)
    assert len(drawings) == 7  # who answered by loss and by chrF, two courses, and where the time went
    for drawing in drawings:
        assert ElementTree.fromstring(drawing).get("aria-label") and "nan" not in drawing


def test_each_sample_shows_prompt_reference_and_everyone_side_by_side(run):
    record = run.read_json("evaluation.json")["splits"]["test"]
    cards = re.findall(r'<article class="sample">.*?</article>', raw_of(run), re.S)[: len(record["samples"])]
    assert len(record["samples"]) == 20
    for card, sample in zip(cards, record["samples"], strict=True):
        page = " ".join(Reader(card).words)
        assert sample["prompt"][:300] in page and sample["reference"][:300] in page
        names = re.findall(r"<h4>(.*?)[ <]", card)
        assert names == ["Prompt", "Reference", "Tuned", "Before", "constant", "nearest", "copy", "lead"]
        assert all(text[:300] in page for text in sample["answers"].values())
        same = sum(text == sample["reference"] for text in sample["answers"].values() if len(text) < 600)
        assert card.count("equals the reference") == same
    assert any("equals the reference" in card for card in cards)


def test_the_first_samples_stand_there_and_the_others_are_a_click_away(run):
    raw = raw_of(run)
    before, _, after = raw.partition("the other 14 samples")
    assert before.count('<article class="sample">') == 6 and after


def test_long_texts_are_folded_and_short_ones_are_not(run):
    record = run.read_json("evaluation.json")["splits"]["test"]
    longest = max((sample["reference"] for sample in record["samples"]), key=len)
    assert len(longest) > 450
    raw = raw_of(run)
    assert raw.count('<details class="fold">') > 0
    assert f'{longest[: answers.BRIEF].rstrip()} …</span><span class="more">show all' in raw
    assert answers._folded("short").startswith("<p")
    assert answers._folded("line\n" * 30).startswith("<details")


def test_texts_that_were_cut_when_they_were_kept_say_so():
    assert "… aaa" in answers._said("Prompt", "a" * 600, cut="front") and "aaa …" in answers._said("x", "a" * 600)
    assert "…" not in answers._said("x", "a" * 300)
    assert "equals the reference" not in answers._said("x", "a" * 600, like="a" * 600)  # who knows how they go on
    assert "no text" in answers._said("x", " ")


def test_rows_cannot_become_markup(tmp_path, monkeypatch):
    rows = [{"question": f"{EVIL} {i}?", "answer": f"{i} {EVIL}"} for i in range(12)]
    run = evaluated(tmp_path, monkeypatch, test=rows, skill=1.0)
    raw = raw_of(run)
    page = Reader(raw)
    assert "<script" not in raw and "script" not in page.tags and "\u202e" not in raw
    assert sum('<script>alert(1)</script> </p></details> " &' in word for word in page.words) > 12
    assert all(not name.startswith("on") for name, _ in page.attributes)


def test_the_headline_says_what_for_and_which_direction_is_better(run):
    story = report.Story.of(run)
    line = story.line("test", "tuned", "loss")
    page = " ".join(page_of(run).words)
    assert line is not None
    assert "tuned (full) to answer as a table in memory does, on 120 training rows" in page
    assert f"loss on test {words.number('loss', line['value'])}" in page
    assert "nats a token; lower is better" in page and "chrf, of 100; higher is better (n = 40)" in page
    assert story.who("test")[:2] == ["tuned", "base"] and len(story.who("test")) == 6
    assert "loss, nats a token" in page


def test_scores_show_each_metric_in_its_own_way_and_on_how_many_rows(tmp_path, monkeypatch):
    run = evaluated(tmp_path, monkeypatch, "evaluate.written=7")
    page = " ".join(page_of(run).words)
    assert "30 rows, answers written to 7 · test set" in page
    for head in ("loss  ↓", "perplexity  ↓", "rouge1  %", "exact match  %", "chrf"):
        assert head in page
    story = report.Story.of(run)
    for line in story.scores:
        assert words.number(line["metric"], line["value"]) in page
    pairs = story.record["splits"]["test"]["paired"]
    assert {(pair["who"], pair["metric"]) for pair in pairs} == {
        ("base", "loss"),
        ("constant", "chrf"),
        ("copy", "chrf"),
    }
    assert all(verdict.difference(pair) in page for pair in pairs)


def stated(row):
    """Every other row states limits; its reference keeps them, and three words twice over do not."""
    longest = {"words": {"max": len(row["answer"].split())}, "sentences": {"min": 1}}
    return longest if len(row["question"]) % 2 else {}


def test_limits_stand_in_the_scores_by_kind_and_at_each_sample(tmp_path, monkeypatch):
    invented_run.writing(monkeypatch, skill=0.5)
    run = invented_run.write_texts(tmp_path, rows=(60, 20, 30), overrides=(CHEAP,), limits=stated)
    evaluate(run)
    raw, story = raw_of(run), report.Story.of(run)
    page = " ".join(Reader(raw).words)
    assert 'id="limits"' in raw and 'href="#limits"' in raw and "Limits kept on test, per cent" in page
    for metric in ("adherence", "adherence[words]", "adherence[sentences]"):
        line = story.line("test", "tuned", metric)
        assert 0 < line["n"] < 30 and words.number(metric, line["value"]) in page
        assert {"base", "constant", "copy"} <= {each["who"] for each in story.scores if each["metric"] == metric}
    samples = run.read_json("evaluation.json")["splits"]["test"]["samples"]
    cards = re.findall(r'<article class="sample">.*?</article>', raw, re.S)
    assert 0 < sum("limits" in sample for sample in samples) < len(samples)
    for card, sample in zip(cards, samples, strict=False):
        broken = sample.get("broken", {})
        assert broken.get("reference", []) == []
        assert card.count("keeps its limits") == sum(not kinds for kinds in broken.values())
        assert card.count("breaks ") == sum(bool(kinds) for kinds in broken.values())
        assert ("Limits: " in card) == ("limits" in sample) and sample.get("limits", "") in card


def test_references_that_break_their_limits_are_found(tmp_path, monkeypatch):
    invented_run.writing(monkeypatch)
    run = invented_run.write_texts(
        tmp_path, rows=(60, 20, 30), overrides=(CHEAP,), limits=lambda row: {"avoid": row["answer"].split()[0]}
    )
    found = [each for each in evaluate(run).findings if each.slug == "limits-not-kept"]
    assert {each.evidence["split"] for each in found} == {"test", "validation"}
    assert found[0].evidence["rows"] == 30 and len(found[0].evidence["ids"]) == 10


def test_without_limits_nothing_is_said_of_them(run):
    assert 'id="limits"' not in raw_of(run) and "its limits" not in raw_of(run)


def test_without_written_answers_the_losses_are_shown(tmp_path, monkeypatch):
    run = evaluated(tmp_path, monkeypatch, "evaluate.written=0")
    page = page_of(run)
    ids = [value for name, value in page.attributes if name == "id"]
    assert "samples" not in ids and "hardest" in ids
    assert "beats the model before tuning." in " ".join(page.words)


def test_a_run_without_optional_files_still_has_a_page(tmp_path, monkeypatch):
    invented_run.writing(monkeypatch, base=False)
    run = invented_run.write_texts(
        tmp_path, rows=(60, 20, 30), overrides=("evaluate.baselines=[]", "evaluate.train_sample=0")
    )
    for name in ("costs.json", "env.json", "best.json"):
        (run.path / name).unlink()
    evaluate(run)
    page = " ".join(page_of(run).words)
    assert "No baseline was measured" in page and "Before tuning" not in page and "What the baselines" not in page


def pair(who, metric, value, beaten):
    return {"who": who, "metric": metric, "value": value, "low": value - 1, "high": value + 1, "p": 0.01, "n": 9} | {
        "beaten": beaten
    }


BASE, WON, LOST = (
    pair("base", "loss", -2.0, True),
    pair("nearest", "chrf", 9.0, True),
    pair("copy", "chrf", -3.0, False),
)


@pytest.mark.parametrize(
    ("pairs", "kind", "first", "against"),
    [
        ([BASE, WON], "good", "beats the model before tuning and every baseline measured.", "Against nearest, chrf"),
        ([BASE, WON, LOST], "bad", "beats the model before tuning, but not the baseline copy.", "Against copy, chrf"),
        ([BASE, LOST, LOST], "bad", "beats the model before tuning, but no baseline.", "−3.0 points (−4.0 to −2.0)"),
        ([BASE | {"beaten": False}, LOST], "bad", "before tuning, nor the baseline copy.", "loss differs by −2.000"),
        ([BASE | {"beaten": False}], "bad", "does not beat the model before tuning.", "Against the base"),
        ([WON], "good", "beats every baseline measured.", "+9.0 points"),
        ([WON, LOST], "bad", "does not beat the baseline copy.", "chrf differs by −3.0 points"),
        (
            [BASE | {"who": "a"}, BASE | {"who": "b", "value": -1.0}],
            "good",
            "baseline measured.",
            "the strongest, b, loss",
        ),
    ],
)
def test_the_verdict_tells_the_base_from_the_baselines(run, pairs, kind, first, against):
    story = report.Story.of(run)
    story.record["splits"]["test"]["paired"] = pairs
    story.record["diagnosis"] = {"verdict": "healthy"}
    found, (said, rest) = verdict.verdict(story)
    assert (found, said.endswith(first)) == (kind, True)
    assert against in rest and rest.endswith("The fit is healthy.")


def test_an_unsound_fit_is_never_good(run):
    story = report.Story.of(run)
    story.record["splits"]["test"]["paired"] = [BASE]
    story.record["diagnosis"] = {"verdict": "overfitting"}
    assert verdict.verdict(story)[0] == "bad"


def test_figures_of_texts_in_words():
    assert words.number("loss", 1.23456) == "1.235" and words.number("perplexity", 3.4) == "3.400"
    assert words.number("perplexity", 78.04) == "78.0" and words.number("perplexity", 23456.7) == "23,457"
    assert words.number("bleu", 31.74) == "31.7" and words.number("chrf", 5.0) == "5.0"
    assert words.number("rougeL", 0.3174) == "31.7" and words.is_share("exact_match") and not words.is_share("bleu")
    assert words.signed("chrf", -1.26) == "−1.3 points" and words.signed("loss", -0.5) == "−0.500"
    assert words.signed("perplexity", 312.4) == "+312" and words.signed("rouge1", 0.021) == "+2.1 points"
    assert words.scale("loss") == "nats a token; lower is better" and words.scale("bleu") == "of 100; higher is better"
    assert words.falls("perplexity") and not words.falls("chrf")
