"""The artifact: a self-contained folder that transformers, peft and Septet load as it is.

It holds the merged model in the base checkpoint's own dtype, its tokenizer, `task.json` (format 1), a model card, and
`manifest.json` with the sha256 of every other file, written last and checked at load: neither safetensors nor torch notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet import registry
from septet.data.clean import Cleaning
from septet.durable import sync, write_atomic
from septet.errors import ModelError, UsageError
from septet.model.load import check_folder, silent

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(slots=True)
class Artifact:
    """A loaded artifact."""

    model: Any
    task: Any
    processor: Any
    clean: Cleaning
    folder: Path


def write_artifact(
    folder: Path, *, model: Any, task: Any, processor: Any, clean: Cleaning, dtype: str, card: str, adapter: Any = None
) -> None:
    """Write a model folder by way of a temporary one, so that it is whole or absent.

    Args:
        folder: where it goes; an older one there is replaced.
        model: a plain transformers model with fp32 weights.
        task: stored as `task.json`.
        processor: the tokenizer, or what makes pixels of pictures.
        clean: how the texts were cleaned, so that what is served is cleaned as what was trained on.
        dtype: the dtype of the stored weights, as torch names it.
        card: the text of README.md.
        adapter: a function that writes the adapter alone into the folder it is given, or None.

    Raises:
        ModelError: the saved processor is not the one that trained.
    """
    import torch

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    kind = getattr(torch, dtype)
    # statistics of batches are few, and small numbers among them matter
    kept = {name for name, _ in model.named_buffers()}
    # a tied tensor stays one under its two names, and is written once
    stored: dict[tuple[int, Any], torch.Tensor] = {}
    state = {
        name: stored.setdefault(
            (t.data_ptr(), t.shape),
            (t.detach().to(kind) if t.is_floating_point() and name not in kept else t).contiguous().cpu(),
        )
        for name, t in model.state_dict().items()
    }
    with silent():
        model.save_pretrained(str(temporary), state_dict=state)
    _say_dtype(temporary / "config.json", dtype)
    task.input.save(processor, temporary, task.reads)
    record = {
        "format": FORMAT,
        "kind": "transformers",
        "task": task.to_json(),
        "clean": clean.to_json(),
        "code": [{"kind": c.kind, "name": c.name, "sha256": c.sha256} for c in registry.codes()],
    }
    (temporary / "task.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    (temporary / "README.md").write_text(card)
    if adapter is not None:
        adapter(temporary / "adapter")
    _replace(temporary, folder)
    seal(folder)


def seal(folder: Path) -> None:
    """Write `manifest.json`: the sha256 of every file in the folder."""
    files = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_atomic(folder / MANIFEST, json.dumps({"format": FORMAT, "files": files}, indent=2).encode() + b"\n")
    sync(folder)


def check_manifest(folder: Path) -> None:
    """Compare every file with its recorded hash.

    Raises:
        ModelError: a file is missing, changed, or not listed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(
            "The folder has no manifest.json, so its files cannot be checked.",
            where=str(folder),
            hint="a model folder written by septet train",
        )
    try:
        files = dict(json.loads(path.read_text())["files"]).items()
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("manifest.json cannot be read.", where=str(path)) from error
    if not files:
        raise ModelError("manifest.json lists no files.", where=str(path))
    for name, wanted in files:
        if not (folder / name).is_file():
            raise ModelError(f"The file {name} of the artifact is missing.", where=str(folder))
        if sha256(folder / name) != wanted:
            raise ModelError(
                f"The file {name} is not the one that was saved (sha256 differs).",
                where=str(folder),
                hint="copy the artifact again, or train again",
            )


def model_folder(folder: Path) -> Path:
    """Return the model folder itself, given it or the run that holds it.

    Raises:
        UsageError: neither is there.
    """
    if (folder / "task.json").is_file():
        return folder
    if (folder / "model" / "task.json").is_file():
        return folder / "model"
    if not folder.is_dir():
        raise UsageError("There is no such folder.", where=str(folder))
    raise UsageError(
        "This folder holds no trained model.", where=str(folder), hint="a run folder, or its model/ folder"
    )


def read_task(folder: Path, code: Sequence[str] = ()) -> Any:
    """Return the task stored in a model folder.

    Raises:
        ModelError: made by a newer format, or with a plug-in file that was not given.
    """
    for path in code:
        registry.load_code(path)
    record = json.loads((folder / "task.json").read_text())
    if record.get("format") != FORMAT:
        raise ModelError(
            "task.json is of a format that this version does not read.",
            where=str(folder),
            received=record.get("format"),
        )
    given = {(c.kind, c.name): c.sha256 for c in registry.codes()}
    for need in record["code"]:
        if given.get((need["kind"], need["name"])) != need["sha256"]:
            raise ModelError(
                f"This model was made with the {need['kind']} file {need['name']}.py, which was not given or has changed.",
                where=str(folder),
                hint=f"--code {need['name']}.py",
            )
    return registry.part("task", record["task"]["name"]).from_json(record["task"])


def open_artifact(folder: Path, code: Sequence[str] = ()) -> Artifact:
    """Load a model folder after checking its manifest.

    Raises:
        ModelError: damaged or unsafe.
        UsageError: not a model folder.
    """
    import torch
    import transformers

    from septet.model import last_token

    folder = model_folder(folder)
    check_manifest(folder)
    check_folder(folder)
    task = read_task(folder, code)
    head = next(iter(task.heads().values()))
    with silent():
        model = getattr(transformers, head.auto).from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    if last_token.classifies(head):
        last_token.install(model)
    clean = Cleaning.from_json(json.loads((folder / "task.json").read_text())["clean"])
    return Artifact(model.eval(), task, task.input.processor(str(folder)), clean, folder)


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say_dtype(path: Path, dtype: str) -> None:
    """Write the stored weights' dtype into the config; `save_pretrained` writes that of the model in memory."""
    config = json.loads(path.read_text())
    config["dtype"] = dtype
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _replace(temporary: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    sync(folder.parent)
