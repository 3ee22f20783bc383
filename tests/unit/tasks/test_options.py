"""What the blocks of tasks that write refuse: keys that contradict each other, or would be read by nothing."""

import pytest

from septet.errors import SeptetError
from septet.recipe import Recipe


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"messages": "a", "prompt": "b", "answer": "c"}, "task.prompt cannot be given beside task.messages"),
        ({"prompt": "b"}, "task.answer is missing beside task.prompt"),
        ({"answer": "b"}, "task.prompt is missing beside task.answer"),
        ({"decode": {"top_k": 5}}, "task.decode.top_k would be ignored"),
        ({"decode": {"top_p": 0.5}}, "task.decode.top_p would be ignored"),
        ({"decode": {"length_penalty": 2.0}}, "task.decode.length_penalty would be ignored"),
        ({"decode": {"temperature": -1.0}}, "task.decode.temperature must be"),
        ({"decode": {"beams": 0}}, "task.decode.beams must be"),
        ({"decode": {"beams": 300}}, "task.decode.beams must be"),
        ({"decode": {"max_new_tokens": 20, "no_repeat_ngram": 99999}}, "task.decode.no_repeat_ngram would do nothing"),
        ({"train_on": "some"}, "task.train_on must be"),
    ],
)
def test_a_contradiction_is_named(task, said):
    with pytest.raises(SeptetError, match=said.replace(".", r"\.")):
        Recipe.load({"data": {"train": "x.jsonl"}, "task": {"name": "generate", **task}})


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"gamma": 2.0}, "task.gamma would be ignored"),
        ({"loss": "focal", "label_smoothing": 0.1}, "task.label_smoothing cannot be combined with focal loss"),
        ({"loss": "focal", "gamma": -1.0}, "task.gamma must be"),
        ({"loss": "focus"}, "task.loss must be"),
    ],
)
def test_a_loss_that_makes_no_sense_is_named(task, said):
    with pytest.raises(SeptetError, match=said.replace(".", r"\.")):
        Recipe.load({"data": {"train": "x.jsonl"}, "task": {"name": "classify", "text": "a", "label": "b", **task}})
