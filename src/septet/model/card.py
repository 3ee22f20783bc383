"""The model card: what was tuned on what, how it scored, how to use it, and what to be careful with."""

from __future__ import annotations

from typing import Any

IMPORT = "from transformers import pipeline\n\n"
_USES = {
    "text-classification": 'pipeline("text-classification", model="THIS_FOLDER", truncation=True)("your text")',
    "image-classification": """from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor, model = AutoImageProcessor.from_pretrained("THIS_FOLDER"), AutoModelForImageClassification.from_pretrained("THIS_FOLDER")
logits = model(**processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt")).logits
model.config.id2label[int(logits.argmax())]""",
    "audio-classification": """import soundfile
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

extractor, model = AutoFeatureExtractor.from_pretrained("THIS_FOLDER"), AutoModelForAudioClassification.from_pretrained("THIS_FOLDER")
samples, rate = soundfile.read("recording.wav", dtype="float32")  # one channel, RATE Hz; others are averaged and resampled first
logits = model(**extractor(samples, sampling_rate=rate, return_tensors="pt"FILLED)).logits
model.config.id2label[int(logits.argmax())]""",
    "text-generation": 'pipeline("text-generation", model="THIS_FOLDER")([{"role": "user", "content": "your question"}])',
    "fill-mask": 'pipeline("fill-mask", model="THIS_FOLDER")("a text with its mask token")',
    "text2text-generation": """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("THIS_FOLDER"), AutoModelForSeq2SeqLM.from_pretrained("THIS_FOLDER")
tokenizer.decode(model.generate(**tokenizer("your text", return_tensors="pt"))[0], skip_special_tokens=True)""",
}
_KINDS = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForAudioClassification": "audio-classification",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModelForMaskedLM": "fill-mask",
}
_LIMITS = {
    "choices": "The model knows only the labels above and gives one of them to whatever it is asked, also to what is unlike its training data.",
    "texts": "The model writes what is probable, which need not be true, and answers also what is unlike its training data.",
}


def text(setup: Any, best: dict[str, Any], costs: dict[str, Any]) -> str:
    """Return the text of the artifact's README.md, with the metadata block that hubs read."""
    recipe, task, prepared = setup.recipe, setup.task, setup.prepared
    kind = _kind(task)
    splits = ", ".join(f"{name} {facts['rows']:,}" for name, facts in prepared.splits.items())
    base = "" if recipe.model.name is None else f"base_model: {recipe.model.name}\n"
    return f"""---
library_name: transformers
pipeline_tag: {kind}
{base}tags: [septet, {recipe.method.name}]
---

# {recipe.model.title}, tuned to `{task.name}`

Tuned with Septet by method `{recipe.method.name}` in {setup.total:,} planned updates of {setup.planner.most_rows:,} rows.
{_chosen(best)} Scores on the test split, with
intervals and baselines, are in the run's report.

{_answers(task)}
- Rows: {splits}
- {_reads(setup)}
- Training: {costs["train_s"]:.0f} s, {costs["rows_per_s"]:.0f} rows/s

## Use

```python
{_use(task, kind, setup.processor)}
```

```sh
{_commands(task)}
```

## Limits

{_LIMITS[task.answers_with]}
The licences of the base model and of the data apply to it.
"""


def _reads(setup: Any) -> str:
    if setup.task.input.varies:
        return f"Longest text: {setup.task.max_length} tokens; longer ones are cut"
    if setup.task.schema.media == "recording":
        processor = setup.processor
        return f"Recordings: one channel of {processor.rate:,} Hz, cut or filled to {processor.seconds:g} s"
    return f"Pictures: scaled to {' x '.join(map(str, setup.processor.shape[1:]))} pixels"


def _use(task: Any, kind: str, processor: Any) -> str:
    """Return how transformers is called: of a text that columns make, in the form that they have."""
    if kind == "image-classification":
        return _USES[kind]
    if kind == "audio-classification":
        filled = {} if processor.fixed else processor.filled
        more = "".join(f", {name}={value!r}" for name, value in filled.items())
        return _USES[kind].replace("RATE", f"{processor.rate:,}").replace("FILLED", more)
    members = task.schema.members
    shown = "; ".join(f"{name}: …" for name in members).replace("\\", "\\\\").replace('"', '\\"')
    return IMPORT + (_USES[kind].replace("your text", shown) if members else _USES[kind])


def _commands(task: Any) -> str:
    if task.input.varies:
        return "septet predict THIS_FOLDER texts.csv -o answers.csv\nseptet serve THIS_FOLDER"
    return f"septet predict THIS_FOLDER {task.schema.thing.upper()}S -o answers.csv"


def _chosen(best: dict[str, Any]) -> str:
    if best["value"] is None:
        return f"These are the weights of step {best['step']:,}, the last; there was no validation split to choose by."
    return f"Validation {best['metric']} {best['value']:.4f} at step {best['step']:,}; this split chose the checkpoint."


def _kind(task: Any) -> str:
    """Return the hub's word for what the model does."""
    return _KINDS[next(iter(task.heads().values())).auto]


def _answers(task: Any) -> str:
    if task.answers_with == "choices":
        return f"- Labels ({len(task.labels)}): {', '.join(task.labels[:40])}{' …' if len(task.labels) > 40 else ''}"
    if not task.answers_rows:
        return f"- Objective: {task.objective}"
    decode = task.options.decode
    how = f"temperature {decode.temperature:g}" if decode.temperature else "greedy"
    return f"- Answers: {how}, at most {decode.max_new_tokens} tokens; the chat template is in the tokenizer"
