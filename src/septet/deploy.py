"""Stage 6: packages of a trained model, each proven equal to it on real rows before it is there at all.

`deploy("runs/x")` writes every export of the recipe to `<run>/deploy/<name>/`. A package appears under its name only
after its answers were compared with the Predictor's; one that differs is removed and named. `deploy.json` records sizes,
hashes and how equal each package is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septet import registry
from septet.durable import sync, write_atomic
from septet.errors import CheckError, UsageError
from septet.exports import Parity
from septet.progress import Listen, quiet
from septet.run import Run

FILE = "deploy.json"


@dataclass(frozen=True, slots=True)
class Package:
    """One export: its folder, its files with their sha256 and size, and how equal its answers are."""

    name: str
    folder: Path
    parity: Parity
    tolerance: float
    files: dict[str, dict[str, Any]]

    @property
    def size_bytes(self) -> int:
        return sum(file["bytes"] for file in self.files.values())

    def to_json(self) -> dict[str, Any]:
        parity = {
            "rows": self.parity.n,
            "max_difference": self.parity.max_difference,
            "labels_different": self.parity.labels_different,
            "tolerance": self.tolerance,
        }
        return {"folder": str(self.folder), "bytes": self.size_bytes, "parity": parity, "files": self.files}


@dataclass(slots=True)
class Deployed:
    """The packages that were written."""

    run: Path
    packages: list[Package] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"run": str(self.run), "exports": {package.name: package.to_json() for package in self.packages}}

    def text(self) -> str:
        """One line a package."""
        return "\n".join(
            f"{p.name}: {p.folder} ({p.size_bytes / 1e6:.1f} MB); {p.parity.n} rows answered alike, "
            f"largest difference {p.parity.max_difference:.1e}"
            for p in self.packages
        )


def deploy(
    run: str | Path | Run, *, to: str | Path | None = None, code: Sequence[str] = (), listen: Listen = quiet
) -> Deployed:
    """Write the packages of a run and prove them.

    Args:
        run: a finished run.
        to: a folder for the packages instead of the run's `deploy/`; each gets a folder of its name in it.
        code: plug-in files the model was made with.
        listen: told of the progress.

    Raises:
        UsageError: not a run, no such export, or a folder in the way that this did not write.
        ModelError: the artifact is damaged.
        CheckError: a package answers differently; it is removed.
    """
    from septet.model.artifact import check_manifest, model_folder
    from septet.recipe import Recipe

    opened = run if isinstance(run, Run) else Run.open(run)
    model = model_folder(opened.path)
    check_manifest(model)
    options = Recipe.load(opened.path / "recipe.yaml").deploy
    rows = verification_rows(opened, options.verify_rows, code=code)
    target = Path(to) if to is not None else opened.path / "deploy"
    if target.exists() and not target.is_dir():
        raise UsageError("The packages need a folder.", where=str(target))
    for name in options.exports:
        if to is not None and (target / name).exists() and not (target / FILE).is_file():
            raise UsageError(
                "Something else is there, which is not replaced.",
                where=str(target / name),
                hint="another folder: --to DIR",
            )
    result = Deployed(opened.path)
    for done, name in enumerate(options.exports):
        listen("progress", what=f"deploy {name}", done=done, total=len(options.exports))
        result.packages.append(write_package(name, model, target=target, rows=rows))
    record = json.dumps(result.to_json(), indent=2, ensure_ascii=False).encode() + b"\n"
    write_atomic((target if to is not None else opened.path) / FILE, record)
    return result


def write_package(name: str, model: Path, *, target: Path, rows: list[Any]) -> Package:
    """Write one export under a temporary name, compare its answers, and give it its name.

    Raises:
        CheckError: it answers differently; nothing is left of it.
    """
    from septet.model.artifact import sha256

    export = registry.part("export", name)()
    temporary, final = target / f".{name}.tmp", target / name
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        export.write(model, temporary)
        parity = export.verify(model, temporary, rows)
        if parity.max_difference > export.tolerance or parity.labels_different:
            raise CheckError(
                f"The export {name} answers differently from the model: {parity.labels_different} of {parity.n} labels, "
                f"scores by up to {parity.max_difference:.1e} (allowed {export.tolerance:.0e}). Nothing was kept of it.",
                where=str(model),
            )
        _replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    paths = [path for path in sorted(final.rglob("*")) if path.is_file()]
    files = {str(p.relative_to(final)): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in paths}
    return Package(name, final, parity, export.tolerance, files)


def verification_rows(run: Run, count: int, *, code: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return rows of the first test split (else validation) that are not longer than the model reads.

    Raises:
        CheckError: every row is longer.
    """
    from septet.data.store import Prepared
    from septet.model.artifact import read_task

    prepared = Prepared.of(run)
    task = read_task(run.model, code)
    split = next(iter(prepared.tests), "validation")
    processor = task.input.processor(str(run.model))
    found: list[dict[str, str]] = []
    for row in prepared.rows(split):
        text = {column: row[column] for column in task.texts}
        if not any(example.meta["truncated"] for example in task.prompts([text], processor)[0]):
            found.append(text)
        if len(found) == count:
            break
    if not found:
        raise CheckError(f"Every row of {split} is longer than the model reads, so no package can be compared with it.")
    return found


def _replace(temporary: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    sync(final.parent)
