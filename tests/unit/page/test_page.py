"""`report.html`: one file that loads nothing, holds no markup of the data's, and says what the files of the run say."""

import re
from xml.etree import ElementTree

import pytest
from reader import Reader, page_of

import invented_run
from septet.errors import UsageError
from septet.evaluate import evaluate
from septet.page import charts, curves, matrix, words
from septet.page.html import Html, table, tag, text
from septet.page.report import write

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module", params=[2, 6, 77])
def evaluated(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        invented_run.answering(patch, skill=0.85)
        k = request.param
        run = invented_run.write(
            tmp_path_factory.mktemp("run"),
            labels=k,
            rows=(60 + 6 * k, 30 + 2 * k, 50 + 4 * k),
            overrides=("evaluate.baselines=[majority, tfidf]",),
        )
        yield k, run, evaluate(run)


def test_it_loads_nothing(evaluated):
    _, run, _ = evaluated
    raw = (run.path / "report.html").read_text()
    page = Reader(raw)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(
        name not in ("src", "srcset", "action", "xlink:href") and not name.startswith("on")
        for name, _ in page.attributes
    )
    links = [value for name, value in page.attributes if name == "href" and not value.startswith("#")]
    assert links == ["data.html"]  # which lies beside it
    assert (run.path / "data.html").exists()
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", raw)
    assert any(value and "default-src 'none'" in value for _, value in page.attributes)
    assert len(raw) < 1_500_000
    assert ".beside-each" not in raw  # the style of written answers is for their pages


def test_it_has_every_section_and_links_lead_somewhere(evaluated):
    _, run, _ = evaluated
    page = page_of(run)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")} <= set(ids)
    assert {
        "diagnosis",
        "learning",
        "scores",
        "labels",
        "confusion",
        "confidence",
        "mistakes",
        "data",
        "findings",
        "costs",
        "environment",
        "recipe",
        "reproduce",
    } <= set(ids)


def test_every_drawing_has_a_name_and_is_well_formed(evaluated):
    k, run, _ = evaluated
    drawings = re.findall(r"<svg.*?</svg>", (run.path / "report.html").read_text(), re.S)
    assert len(drawings) >= 6 + min(k, 15)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("aria-label")
        assert "nan" not in drawing.lower().replace("finance", "")
        sizes = [float(n) for n in root.get("viewBox").split()]
        assert sizes[2] > 0 and sizes[3] > 0


def test_drawings_side_by_side_fill_their_columns(evaluated):
    _, run, _ = evaluated
    raw = (run.path / "report.html").read_text() + (run.path / "data.html").read_text()
    found = re.findall(r'<figure><svg viewBox="0 0 (\d+) ', raw)
    column = (1080 - 2 * 28 - 36) / 2  # style.css: main, its padding, the gap of a pair
    assert len(found) >= 5 and all(column <= int(width) <= 1.1 * column for width in found)


def test_it_shows_the_figures_of_the_scores(evaluated):
    _, run, result = evaluated
    page = " ".join(page_of(run).words)
    for line in result.scores:
        if line["metric"] == "accuracy":
            assert words.number("accuracy", line["value"]) in page
    pair = result.record["splits"]["test"]["paired"][-1]
    assert words.p_value(pair["p"]) in page
    assert "lowest" not in page or result.record["diagnosis"]["verdict"] != "healthy"


def test_confusions_add_up(evaluated):
    k, run, result = evaluated
    raw = (run.path / "report.html").read_text()
    drawing = next(d for d in re.findall(r"<svg.*?</svg>", raw, re.S) if "Confusion matrix" in d)
    counts = [int(n) for n in re.findall(r"→ [^<]*?: (\d+) of \d+", drawing)]
    assert sum(counts) == result.record["splits"]["test"]["n"]
    assert drawing.count("rotate(-90)") == k


def test_data_cannot_become_markup(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.3)
    names = ["billing", f"x{EVIL}", '"><img src=x onerror=y>', "returns&amp;"]
    rows = [{"text": f"{EVIL} </svg></table> {i} & 'q' \u202egnirts", "label": names[i % 4]} for i in range(80)]
    run = invented_run.write(
        tmp_path, labels=names, rows=(120, 40, 60), extra=rows, overrides=("evaluate.baselines=[majority]",)
    )
    evaluate(run)
    raw = (run.path / "report.html").read_text()
    page = Reader(raw)
    assert "<script" not in raw and "<img" not in raw
    assert not {"script", "img"} & set(page.tags)
    assert any(EVIL in word for word in page.words)  # shown as what it is
    assert "returns&amp;amp;" in raw
    assert all(not (name.startswith("on")) for name, _ in page.attributes)
    for drawing in re.findall(r"<svg.*?</svg>", raw, re.S):
        ElementTree.fromstring(drawing)


def test_texts_of_mistakes_are_escaped(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.0)
    names = ["a", "b", "c", "d"]
    run = invented_run.write(tmp_path, labels=names, rows=(80, 20, 30), overrides=("evaluate.baselines=[]",))
    from septet.data.held import Held

    monkeypatch.setattr(
        "septet.evaluate.held_in",
        lambda *_: [
            Held("test", "test", [{"_row": i, "text": f"{EVIL}\x00\u202e{i}", "label": names[i % 4]} for i in range(8)])
        ],
    )
    evaluate(run)
    raw = (run.path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in raw and EVIL not in raw
    assert "\x00" not in raw and "\u202e" not in raw


def test_a_run_that_was_not_evaluated_has_no_page(tmp_path):
    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 20))
    with pytest.raises(UsageError, match=r"evaluation\.json"):
        write(run)


def test_a_run_without_optional_files_still_has_a_page(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch)
    run = invented_run.write(
        tmp_path, labels=2, rows=(60, 20, 20), overrides=("evaluate.baselines=[]", "evaluate.train_sample=0")
    )
    for name in ("costs.json", "env.json", "best.json", "evaluations.jsonl"):
        (run.path / name).unlink()
    evaluate(run)
    assert "No baseline was measured" in " ".join(page_of(run).words)


def test_tags_escape_what_is_not_html():
    assert (
        tag("p", "<b>", Html("<b>"), None, 3, ["&", ["'"]], title='"x"')
        == '<p title="&quot;x&quot;">&lt;b&gt;<b>3&amp;&#x27;</p>'
    )
    assert (
        tag("rect", x=1.5, width=2, class_="a", hidden=False, stroke_width=None)
        == '<rect x="1.5" width="2" class="a"/>'
    )
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert text("a\x00b") == "a\ufffdb"
    assert "<td>&lt;" in table(["<"], [["<"]])


def test_figures_in_words():
    assert words.number("accuracy", 0.92449, unit=True) == "92.4\u202f%"
    assert words.number("log_loss", 0.31449) == "0.314" and words.number("mcc", -0.5) == "-0.500"
    assert words.number("f1[a]", 1.0) == "100.0" and words.number("no such metric", 0.5) == "0.500"
    assert words.number("accuracy", None) == words.number("accuracy", float("nan")) == "–"
    assert words.signed("accuracy", -0.0123) == "−1.2 points" and words.signed("log_loss", 0.02) == "+0.020"
    assert [words.duration(s) for s in (0.44, 12, 200, 7500)] == ["0.4 s", "12 s", "3 min 20 s", "2 h 05 min"]
    assert [words.size(b) for b in (12, 2048, 5 * 2**20, 3 * 2**30)] == ["12 B", "2.0 KiB", "5.0 MiB", "3.0 GiB"]
    assert [words.p_value(p) for p in (0.0001, 0.0123, 0.4)] == ["p < 0.001", "p = 0.012", "p = 0.40"]


def test_a_scale_has_round_ticks_inside():
    assert charts.Scale(0, 1, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.Scale(0.37, 0.41, 0, 1).ticks() == pytest.approx([0.37, 0.38, 0.39, 0.40, 0.41])
    assert charts.Scale(3, 3, 0, 10)(3) == 5 and charts.Scale(3, 3, 0, 10).ticks() == [3]


def test_smoothing_keeps_level_and_ends_and_thinning_keeps_the_mean():
    points = [(float(i), 2.0) for i in range(1000)]
    assert {round(y, 9) for _, y in curves.smooth(points)} == {2.0} and len(curves.smooth(points)) == 1000
    line = [(float(i), float(i)) for i in range(1000)]
    assert curves.smooth(line)[500][1] == pytest.approx(500)  # a straight line stays where it is
    assert len(curves.thin(line)) == 400 and sum(y for _, y in curves.thin(line)) / 400 == pytest.approx(499.5, abs=1)
    assert curves.smooth([(0.0, float("nan")), (1.0, 1.0)]) == [(1.0, 1.0)]


def test_curves_of_one_point_and_of_nothing():
    assert "Nothing was recorded" in curves.curves([], title="t", across="a", up="b")
    ElementTree.fromstring(
        curves.curves([curves.Curve("one", [(1.0, 2.0)], "train", marked=True)], title="t", across="a", up="b", best=1)
    )


def test_a_matrix_has_rows_for_unknown_labels():
    drawn = matrix.matrix({"a": {"a": 3, "b": 1}, "strange": {"b": 2}}, ["a", "b"], title="t")
    assert "strange → b: 2 of 2 (100%)" in drawn and "a → b: 1 of 4 (25%)" in drawn


def test_the_page_shows_where_the_time_went():
    from septet.page import charts
    from septet.page.evidence import _time

    timing = {
        "operators": [
            {"name": "matrix products", "ms": 12.0, "share": 0.75},
            {"name": "attention", "ms": 4.0, "share": 0.25},
        ],
        "window": [7, 8, 9],
        "flops_per_step": 3e9,
        "reached_gflops": 20.0,
        "ceiling_gflops": 40.0,
        "ceiling_share": 0.5,
        "precision": "fp32",
    }
    parts = {"backward": 3.0, "forward": 1.0}
    shown = _time(parts, timing)
    for told in ("backward", "75.0%", "updates 7 to 9", "matrix products", "12.0", "50% of what"):
        assert told in shown
    assert "operator" not in _time(parts, None) and "not counted" not in shown
    unknown = {"flops_per_step": None, "reached_gflops": None, "ceiling_gflops": None, "ceiling_share": None}
    assert "Matrix products: not counted, as sizes cannot be seen in compiled layers" in _time(parts, timing | unknown)
    assert "Matrix products" not in _time(parts, timing | {"ceiling_gflops": None})
    bar = charts.shares({"a": 0.75, "<b>": 0.25}, title="parts")
    assert bar.count("<rect") == 2 and "<b>" not in bar


def test_parts_of_a_run_have_the_same_names_on_the_page_and_on_the_screen():
    from septet.page.evidence import _time
    from septet.timetable import against

    parts = {"setup": 3.0, "saving": 2.0, "finish": 1.0}
    screen, shown = against({"stage_s": 6.0, "parts_s": parts, "estimate": None}), _time(parts, None)
    for name in ("set-up", "checkpoints", "the artifact"):
        assert name in screen and name in shown
    assert "setup" not in shown and "finish" not in shown


def test_a_run_that_was_not_checked_has_no_column_of_estimates(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.8)
    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 30), overrides=("evaluate.baselines=[majority]",))
    evaluate(run)
    assert "estimated" in page_of(run).words
    run.write_json("costs.json", {**run.read_json("costs.json"), "estimate": None})
    write(run)
    assert "estimated" not in page_of(run).words


def test_mistakes_are_called_what_the_rows_are(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.5)
    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 30), overrides=("evaluate.baselines=[majority]",))
    evaluate(run)
    assert '<th scope="col">text</th><th scope="col">label</th>' in (run.path / "report.html").read_text()
    data = run.read_json("data.json")
    run.write_json("data.json", {**data, "columns": {**data["columns"], "media": "picture"}})
    write(run)
    assert '<th scope="col">picture</th><th scope="col">label</th>' in (run.path / "report.html").read_text()
