"""A plain transformers folder: transformers alone answers from it as the trained model does.

The artifact already is such a folder; this writes it without the adapter, sealed with hashes of its own, and proves
it by asking transformers itself: its pipeline for labels; for texts its chat template and the probability of each token written.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from septet.exports import Parity
from septet.inputs.arrays import FILE

LEFT_OUT = ("adapter", "manifest.json")
_SERVED = """
## How to use it

Septet cleans texts before it reads them, as it did in training (`clean` in `task.json`); transformers does not.

As a server, with a request log that `septet monitor` can read:

```
septet serve {name}
curl -H 'Content-Type: application/json' -d '{{"inputs": ["Where is my parcel?"]}}' http://127.0.0.1:8000/v1/predict
```
"""


class Hf:
    """The artifact as a transformers folder."""

    tolerance = 1e-4

    def write(self, model: Path, out: Path) -> None:
        """Copy the artifact, without its adapter, and seal the copy."""
        from septet.model.artifact import seal

        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(model.iterdir()):
            if path.name in LEFT_OUT:
                continue
            if path.is_dir():
                shutil.copytree(path, out / path.name)
            else:
                shutil.copy2(path, out / path.name)
        (out / "README.md").write_text(_readme(model, out))
        seal(out)

    def verify(self, model: Path, out: Path, texts: list[Any]) -> Parity:
        """Answer rows through `transformers.pipeline` on the copy and compare with the Predictor on the artifact.

        Args:
            model: the artifact.
            out: the copy.
            texts: rows as the Predictor takes them; none may be longer than the model reads.
        """
        import torch
        from transformers import pipeline

        from septet.model.predictor import Predictor

        predictor = Predictor.load(model, "cpu")
        if predictor.task.answers_with == "texts":
            return _texts_parity(predictor, out, texts)
        if not predictor.task.input.varies:
            return _files_parity(predictor, out, texts)
        wanted = predictor.predict(texts)
        asked = [_as_pipeline_input(predictor.task.value(predictor.parse(text))) for text in texts]
        ask = pipeline("text-classification", model=str(out), tokenizer=str(out), dtype=torch.float32, device="cpu")
        answers: Any = ask(asked, top_k=None, batch_size=16)
        largest, different = 0.0, 0
        for answer, prediction in zip(answers, wanted, strict=True):
            scores = {item["label"]: item["score"] for item in answer}
            different += max(scores, key=scores.__getitem__) != prediction.value
            differences = [abs(scores[label] - score) for label, score in (prediction.scores or {}).items()]
            largest = max(largest, *differences)
        return Parity(len(texts), largest, different)


def _files_parity(predictor: Any, out: Path, rows: list[Any]) -> Parity:
    """Compare with transformers' own image processor or feature extractor, and model, on the copy."""
    import torch
    import transformers

    from septet.model.load import silent

    hears = predictor.task.schema.media == "recording"
    ours = predictor.processor
    with silent():
        if hears:
            library: Any = transformers.AutoFeatureExtractor.from_pretrained(str(out), local_files_only=True)
        else:
            library = transformers.AutoImageProcessor.from_pretrained(str(out), backend="pil", local_files_only=True)
        auto = getattr(transformers, predictor.task.input.classifier)
        model = auto.from_pretrained(str(out), dtype=torch.float32, use_safetensors=True).eval()
    more = {"sampling_rate": ours.rate, **({} if ours.fixed else ours.filled)} if hears else {}
    largest, different = 0.0, 0
    for row, prediction in zip(rows, predictor.predict(rows), strict=True):
        inputs = library(ours.read(predictor.task.value(row)), return_tensors="pt", **more)
        with torch.inference_mode():
            scores = model(**inputs).logits[0].double().softmax(-1)
        different += model.config.id2label[int(scores.argmax())] != prediction.value
        theirs = {model.config.id2label[i]: float(score) for i, score in enumerate(scores)}
        largest = max(largest, *(abs(theirs[label] - score) for label, score in (prediction.scores or {}).items()))
    return Parity(len(rows), largest, different)


def _texts_parity(predictor: Any, out: Path, rows: list[Any]) -> Parity:
    """Compare the prompts, token by token, and the probabilities of what the model writes first."""
    import torch
    import transformers

    from septet.model.predictor import Predictor

    task = predictor.task
    auto = getattr(transformers, next(iter(task.heads().values())).auto)
    model = auto.from_pretrained(str(out), dtype=torch.float32, use_safetensors=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(out))
    if not task.answers_rows:
        encoded = task.encode([predictor.parse(row) for row in rows], predictor.processor)
        losses = [
            [p.loss / p.weight for p in Predictor(m, task, predictor.processor).measure(encoded)]
            for m in (model, predictor.model)
        ]
        return Parity(len(rows), max(abs(a - b) for a, b in zip(*losses, strict=True)), 0)
    largest, different = 0.0, 0
    for row in rows:
        parsed = predictor.parse(row)
        ((example,),) = task.prompts([parsed], predictor.processor)
        ((again,),) = task.prompts([parsed], tokenizer)
        different += again.inputs["input_ids"] != example.inputs["input_ids"]
        if not task.encoder:
            asked = tokenizer.apply_chat_template(task.messages(parsed), add_generation_prompt=True, tokenize=False)
            different += asked != task.rendered(parsed, predictor.processor)
        ids = torch.tensor([example.inputs["input_ids"]])
        more = {"decoder_input_ids": torch.tensor([[model.config.decoder_start_token_id]])} if task.encoder else {}
        with torch.inference_mode():
            theirs, ours = (m(input_ids=ids, **more).logits[0, -1].softmax(-1) for m in (model, predictor.model))
        largest = max(largest, float((theirs - ours).abs().max()))
    return Parity(len(rows), largest, different)


def _as_pipeline_input(value: str | tuple[str, ...]) -> Any:
    return value if isinstance(value, str) else {"text": value[0], "text_pair": value[1]}


def _readme(model: Path, out: Path) -> str:
    reads_files = (model / FILE).is_file()
    use = "" if reads_files else _SERVED.format(name=out.name.strip(".").removesuffix(".tmp"))
    card = (model / "README.md").read_text() if (model / "README.md").is_file() else ""
    return f"""{card.rstrip()}

{use}

`manifest.json` holds the sha256 of every file.
"""
