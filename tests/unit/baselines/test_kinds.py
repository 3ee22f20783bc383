"""What a baseline answers with: labels or texts."""

import inspect
import subprocess
import sys

import pytest

from septet import baselines, registry
from septet.baselines import Options
from septet.errors import UsageError

CHOOSE = ["features", "few_shot", "majority", "tfidf", "zero_shot"]
WRITE = ["constant", "copy", "lead", "nearest"]


@pytest.fixture
def own_part(tmp_path):
    """Register a baseline of the user's own, and forget it afterwards."""
    before = dict(registry._codes)

    def register(body: str) -> None:
        path = tmp_path / "own.py"
        path.write_text(f'"""A baseline of the tests."""\n\nkind = "baseline"\n\n\nclass Own:\n    {body}\n')
        registry.load_code(path)

    yield register
    registry._codes.clear()
    registry._codes.update(before)


def test_the_baselines_of_a_kind():
    assert baselines.of("choices") == CHOOSE and baselines.of("texts") == WRITE


@pytest.mark.parametrize("name", registry.names("baseline"))
def test_the_methods_are_those_of_the_kind(name):
    part = registry.part("baseline", name)
    wanted = {"choices": ("texts, targets", "scores(texts)"), "texts": ("prompts, references", "write(prompts)")}
    fit, answer = wanted[part.answers]
    assert [*inspect.signature(part.fit).parameters] == ["self", *fit.split(", ")]
    verb, _, argument = answer.rstrip(")").partition("(")
    assert [*inspect.signature(getattr(part, verb)).parameters] == ["self", argument]
    assert hasattr(part, "scores") != hasattr(part, "write")


def test_asking_for_a_kind_imports_nothing_heavy():
    code = "import sys; from septet import baselines; baselines.of('texts'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "septet.baselines.nearest" in loaded
    assert not {"torch", "transformers", "sklearn", "scipy"} & set(loaded)


def test_options_say_what_the_task_is_answered_with():
    assert Options().answers == "texts" and Options(2, ("a", "b")).answers == "choices"


@pytest.mark.parametrize(("kind", "right", "wrong"), [("choices", CHOOSE, WRITE), ("texts", WRITE, CHOOSE)])
def test_the_wrong_kind_is_refused_and_the_right_ones_are_named(kind, right, wrong):
    baselines.check_kind([], kind)
    baselines.check_kind(right, kind)
    with pytest.raises(UsageError, match=f"must answer with {kind}") as caught:
        baselines.check_kind([right[0], *wrong[:2]], kind)
    told = str(caught.value)
    assert f"evaluate.baselines=[{', '.join(right)}]" in told and f"{right[0]} (" not in told
    assert all(f"{name} (" in told for name in wrong[:2])


def test_an_unknown_name_is_the_registrys_error():
    with pytest.raises(UsageError, match="no baseline named 'nearst'") as caught:
        baselines.check_kind(["nearst"], "texts")
    assert "nearest" in str(caught.value)


def test_a_baseline_of_ones_own_is_among_its_kind(own_part):
    own_part('answers = "texts"')
    assert baselines.of("texts") == sorted([*WRITE, "own"]) and baselines.of("choices") == CHOOSE


@pytest.mark.parametrize("body", ["pass", 'answers = "labels"'])
def test_a_baseline_must_state_what_it_answers(own_part, body):
    own_part(body)
    with pytest.raises(UsageError, match="The baseline own must state what it answers"):
        baselines.check_kind(["own"], "choices")
