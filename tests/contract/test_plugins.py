"""A task of one's own, from a file given with `--code` and from an installed package, from training to serving."""

import sys
import textwrap

import pytest

import small
from septet import journey, registry
from septet.errors import ModelError, UsageError
from septet.model.predictor import Predictor
from septet.testing import check_task
from septet.testing.bench import texts

PART = '''\
"""Labels for texts that are read backwards."""

from septet.tasks.classify import Classify, Options

kind = "task"
__all__ = ["Backwards", "Options"]


class Backwards(Classify):
    """Reads the words of a text from the last to the first."""

    name = "backwards"

    def value(self, row):
        return " ".join(reversed(super().value(row).split()))
'''
TASK = {"name": "backwards", "text": "text", "label": "label"}


def test_a_file_given_with_code(tmp_path, forget_code):
    path = tmp_path / "backwards.py"
    path.write_text(PART)
    source = small.recipe(tmp_path, task=TASK, epochs=1)
    trained = journey.train(source, run=tmp_path / "run", code=[str(path)])
    assert "backwards" in registry.names("task")
    assert registry.summary("task", "backwards") == "Labels for texts that are read backwards."
    check_task("backwards", {"text": "text", "label": "label"}, texts())
    model = trained.run.model
    first = Predictor.load(model).predict(["parcel late my where"])[0]
    registry._codes.clear()
    with pytest.raises(ModelError, match=r"made with the task file backwards\.py"):
        Predictor.load(model)
    again = Predictor.load(model, code=[str(path)]).predict(["parcel late my where"])[0]
    assert again.scores == first.scores
    path.write_text(PART + "# changed\n")
    with pytest.raises(ModelError, match="not given or has changed"):
        Predictor.load(model, code=[str(path)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind = 'tusk'\n", "sets kind to one of"),
        ("import nothing_of_this_name\n", "does not import"),
        ("x = (\n", "does not import"),
    ],
)
def test_a_file_that_is_no_part(tmp_path, forget_code, text, told):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        registry.load_code(path)
    assert registry.codes() == []


def test_an_installed_package(tmp_path, forget_code, monkeypatch):
    """A package on the path whose metadata declares an entry point, as pip would have installed it."""
    site = tmp_path / "site"
    (site / "backwards_part-1.0.dist-info").mkdir(parents=True)
    (site / "backwards_part.py").write_text(PART)
    (site / "backwards_part-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: backwards-part\nVersion: 1.0\n"
    )
    (site / "backwards_part-1.0.dist-info" / "entry_points.txt").write_text(
        textwrap.dedent("""\
        [septet.task]
        backwards = backwards_part
        """)
    )
    monkeypatch.syspath_prepend(str(site))
    registry._entries.cache_clear()
    assert "backwards" in registry.names("task")
    trained = journey.train(small.recipe(tmp_path, task=TASK, epochs=1), run=tmp_path / "run")
    found = Predictor.load(trained.run.model).predict(["parcel late my where", "refund"])
    assert [set(p.scores) for p in found] == [{"money", "post", "shop"}] * 2
    sys.modules.pop("backwards_part", None)
