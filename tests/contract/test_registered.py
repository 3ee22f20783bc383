"""Every registered part keeps its contract; a part that is added is found by its name and checked without an edit here."""

import pytest

from septet import registry
from septet.testing import check_method, check_metric, check_task
from septet.testing.bench import texts
from septet.testing.tiny import checkpoint

# what a task is checked with: its options and rows; a new task adds a line here, or fails
TASKS = {
    "classify": [
        ({"text": "text", "label": "label"}, texts()),
        ({"text": "text", "label": "label", "class_weights": "balanced", "label_smoothing": 0.05}, texts(13)),
        ({"text": "text", "label": "label", "loss": "focal", "gamma": 1.5}, texts(13)),
        ({"columns": ["age", "plan"], "label": "label"}, [{**row, "columns": row["text"]} for row in texts()]),
        ({"text": ["text", "more"], "label": "label"}, [{**row, "more": row["label"]} for row in texts()]),
    ],
    "generate": [
        ({"prompt": "text", "answer": "label"}, texts()),
        ({"prompt": "text", "answer": "text", "instruction": "label", "template": "chatml"}, texts()),
        (
            {"prompt": "text", "answer": "label", "limits": "limits"},
            [{**row, "limits": '{"words": {"max": 3}}'} for row in texts()],
        ),
    ],
}
TASKS["pretrain"] = [({"text": "text"}, texts()), ({"text": "text", "objective": "causal"}, texts(13))]
METHODS = {
    "layers": [{}, {"count": 1}, {"names": ["*layer.1*"]}],
    "lora": [{}, {"rank": 2, "alpha": 8.0, "targets": ["query", "value"]}],
}


@pytest.mark.parametrize("name", registry.names("task"))
def test_task(name):
    assert name in TASKS, f"add options and rows for the task {name}"
    for options, rows in TASKS[name]:
        check_task(name, options, rows)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n in registry.names("method") for o in METHODS.get(n, [{}])])
def test_method(name, options):
    check_method(name, options)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("name", registry.names("method"))
def test_method_on_a_decoder(name, kind, tmp_path):
    words = [" ".join(str(value) for value in row.values()) for row in texts()]
    check_method(name, model=checkpoint(tmp_path / kind, words, kind=kind))


@pytest.mark.parametrize("name", registry.names("metric"))
def test_metric(name):
    check_metric(name)


@pytest.mark.parametrize("kind", registry.FOLDERS)
def test_every_part_has_a_line_in_the_list(kind):
    names = registry.names(kind)
    assert names
    for name in names:
        line = registry.summary(kind, name)
        assert 15 < len(line) < 140, (kind, name, line)
        assert line.endswith(".") or kind == "metric", (kind, name, line)
