import csv
import io
import json

import pytest
from small_run import make_model, texts

from septet.errors import DataError, ModelError, SeptetError, UsageError
from septet.predict import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "model"
    make_model(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(model):
    from septet.model.predictor import Predictor

    return Predictor.load(model)


def answers(predictor, bodies):
    return [p.value for p in predictor.predict([{"body": body} for body in bodies])]


def test_csv_keeps_every_column_and_the_order(tmp_path, model, predictor):
    bodies = texts(2500)
    source = tmp_path / "new.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body", "label"])
        writer.writerows([i, body, "NA"] for i, body in enumerate(bodies))
    told = []
    out = tmp_path / "answers.csv"
    result = predict(model, str(source), out=str(out), listen=lambda event, **facts: told.append((event, facts)))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "body", "label", "predicted_label", "score", "flag"]
    assert [row["body"] for row in rows] == bodies
    assert {row["label"] for row in rows} == {"NA"}
    assert [row["predicted_label"] for row in rows] == answers(predictor, bodies)
    assert (result.rows, sum(result.labels.values())) == (2500, 2500)
    assert len(result.labels) > 1
    assert [facts["done"] for event, facts in told if event == "progress"] == [1024, 2048, 2500]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_every_format_gives_the_same_answers(tmp_path, model, predictor):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"n": i, "body": body, "more": [i]} for i, body in enumerate(texts(5))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.tsv").write_text("n\tbody\n" + "".join(f"{row['n']}\t{row['body']}\n" for row in rows))
    wanted = answers(predictor, [row["body"] for row in rows])
    for name in ("a.jsonl", "a.json", "a.parquet", "a.tsv"):
        for ending in ("jsonl", "parquet", "csv", "tsv"):
            out = tmp_path / f"out.{ending}"
            predict(model, tmp_path / name, out=out, predictor=predictor, scores=True)
            found = _read(out)
            assert [row["label"] for row in found] == wanted
            assert [str(row["n"]) for row in found] == ["0", "1", "2", "3", "4"]
            scores = found[0]["scores"]
            assert sum((json.loads(scores) if isinstance(scores, str) else scores).values()) == pytest.approx(1)


def _read(path):
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def test_lines_of_text_and_of_json(model, predictor):
    lines = io.BytesIO("where is my parcel\n\nné\r\nlast without end".encode())
    out = io.StringIO()
    result = predict(model, lines, out=out, predictor=predictor)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["body"] for row in found] == ["where is my parcel", "", "né", "last without end"]
    assert [row["flag"] for row in found] == ["", "empty", "", ""]
    assert (result.rows, result.empty) == (4, 1)
    objects = io.BytesIO(b'{"id": 7, "body": "where is my parcel"}\n\n{"id": 8, "body": "late"}\n')
    kept = predict(model, objects, predictor=predictor)
    assert [(row["id"], row["label"]) for row in kept.answers] == [
        (7, found[0]["label"]),
        (8, answers(predictor, ["late"])[0]),
    ]
    assert json.loads(kept.text().splitlines()[1])["id"] == 8


def test_a_txt_file_is_one_text_a_line(tmp_path, model, predictor):
    (tmp_path / "a.txt").write_text("where is it, please\nlate\n")
    assert [r["body"] for r in predict(model, tmp_path / "a.txt", predictor=predictor).answers] == [
        "where is it, please",
        "late",
    ]


def test_what_is_odd_is_flagged_and_nothing_dropped(model, predictor):
    rows = [{"body": ""}, {"body": None}, {"body": "  "}, {"body": "parcel " * 50}, {"body": 12}]
    told = []
    result = predict(model, rows, predictor=predictor, listen=lambda event, **facts: told.append(facts.get("text")))
    assert [row["flag"] for row in result.answers] == ["empty", "empty", "empty", "20 tokens cut off", ""]
    assert (result.rows, result.empty, result.truncated_rows, result.truncated_tokens) == (5, 3, 1, 20)
    assert any("20 tokens cut off" in text for text in told if text)
    assert any("3 rows without text" in text for text in told if text)
    assert result.to_json()["truncated_tokens"] == 20


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (b"", DataError, "no row"),
        (b'{"body": "a"}\nplain\n', DataError, "line 2"),
        (b'{"body": "a"}\n{"text": "a"}\n', DataError, "line 2"),
        (b"fine\n\xff\xfe\n", DataError, "line 2"),
    ],
)
def test_lines_that_cannot_be_answered_are_named(model, predictor, source, error, message):
    with pytest.raises(error, match=message):
        predict(model, io.BytesIO(source), predictor=predictor)


def test_a_line_that_never_ends_is_not_read_to_its_end(model, predictor, monkeypatch):
    monkeypatch.setattr("septet.data.lines.LONGEST_LINE", 100)
    for before in (b"", b"where is my parcel\n"):
        stream = io.BytesIO(before + b"w" * 5_000)
        with pytest.raises(DataError, match=rf"longer than[\s\S]*line {1 + bool(before)}"):
            predict(model, stream, predictor=predictor)
        assert stream.tell() == len(before) + 101


def test_wrong_files_and_endings(tmp_path, model, predictor):
    source = tmp_path / "a.csv"
    source.write_text("text\nhello\n")
    with pytest.raises(UsageError, match="'body'"):
        predict(model, source, predictor=predictor)
    source.write_text("body\nhello\n")
    for out, message in ((source, "overwrite"), (tmp_path / "a.xlsx", "ending")):
        with pytest.raises(UsageError, match=message):
            predict(model, source, out=out, predictor=predictor)
    with pytest.raises(UsageError, match="no such"):
        predict(model, tmp_path / "b.csv", predictor=predictor)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv"]


def test_rows_at_the_beginning_are_skipped(tmp_path, model, predictor):
    source = tmp_path / "a.csv"
    source.write_text("body\nhello\nwhere is it\nlate\n")
    found = predict(model, source, skip=2, predictor=predictor)
    assert [row["body"] for row in found.answers] == ["late"] and found.rows == 1
    with pytest.raises(UsageError, match="only 3 rows"):
        predict(model, source, skip=3, predictor=predictor)


def test_a_column_that_appears_late_leaves_no_half_file(tmp_path, model, predictor):
    lines = b'{"body": "a"}\n' * 1500 + b'{"body": "a", "new": 1}\n'
    with pytest.raises(DataError, match="'new'"):
        predict(model, io.BytesIO(lines), out=tmp_path / "a.csv", predictor=predictor)
    assert list(tmp_path.iterdir()) == []


def test_a_pair_needs_both_columns(tmp_path):
    folder = tmp_path / "model"
    make_model(folder, pair=True)
    rows = predict(folder, [{"body": "where is it", "reply": "it never came"}]).answers
    assert rows[0]["label"] in ("money", "post", "shop")
    with pytest.raises(UsageError, match="'reply'"):
        predict(folder, [{"body": "a"}])
    with pytest.raises(UsageError, match="body and reply"):
        predict(folder, io.BytesIO(b"one text\n"))


def test_a_damaged_artifact_is_refused(tmp_path):
    folder = tmp_path / "model"
    make_model(folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        predict(folder, [{"body": "a"}])


def test_what_is_served_is_cleaned_as_what_was_trained_on(tmp_path):
    from septet.data.clean import Cleaning
    from septet.model.artifact import seal
    from septet.model.predictor import Predictor

    make_model(tmp_path)
    task = json.loads((tmp_path / "task.json").read_text())
    task["clean"] = Cleaning(repair=True, html=True, mask=["email"], lines={"sent from a phone"}).to_json()
    (tmp_path / "task.json").write_text(json.dumps(task))
    seal(tmp_path)
    predictor = Predictor.load(tmp_path)
    raw = "<p>cafÃ© at a@b.example.com</p>\nmy card\nsent from  a phone"
    one, same, other = predictor.predict([raw, "café at <EMAIL> my card", "cafÃ© at a my card sent from"])
    assert one.scores == pytest.approx(same.scores, abs=1e-5)
    assert one.scores != pytest.approx(other.scores, abs=1e-4)
    # a log keeps the text as it came, but for what is masked
    assert predictor.kept({"body": raw, "n": 1}) == {"body": raw.replace("a@b.example.com", "<EMAIL>"), "n": 1}


def test_the_rows_of_the_run_are_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("train.csv", "new.csv", "answers.csv"):
        (tmp_path / name).write_text("body,team\nwhere is it,delivery\n")
    recipe = {
        "data": {"train": "train.csv", "folder": ".."},
        "task": {"name": "classify", "text": "body", "label": "team"},
    }
    (tmp_path / "run" / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(UsageError, match="rows that the model learned from"):
        predict(tmp_path / "run", tmp_path / "new.csv", out=tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_text().startswith("body,team\nwhere")
    for out in (tmp_path / "answers.csv", tmp_path / "other.csv"):
        with pytest.raises(SeptetError) as caught:  # nothing is wrong with the name: there is no model
            predict(tmp_path / "run", tmp_path / "new.csv", out=out)
        assert "overwrite" not in str(caught.value)
