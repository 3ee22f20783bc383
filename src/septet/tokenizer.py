"""`septet tokenizer DATA`: learn a vocabulary from texts, for a model that begins from scratch.

Three kinds, as the field uses them: byte-level BPE (GPT-2, Llama), Unigram with sentinels (T5), WordPiece (BERT). The folder loads with
transformers' `AutoTokenizer`. One text in twenty is not learnt from; on those the figures rest: bytes and words a token, unknown tokens,
and texts that do not come back as they were.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from septet.errors import DataError, UsageError
from septet.inputs._named import fitted
from septet.progress import Listen, quiet
from septet.registry import suggest

HELD_OUT = 20
SENTINELS = 100
CHAT = ("<|im_start|>", "<|im_end|>")
FACTS = "training.json"


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of tokenizer is made of.

    Args:
        special: names of transformers' special tokens -> their text.
        least: the smallest vocabulary: special tokens, and an alphabet.
        make: returns an untrained tokenizer and its trainer.
    """

    special: dict[str, str]
    least: int
    make: Callable[[int, list[str], bool], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Trained:
    """What was learnt, measured on the texts held out.

    Args:
        vocabulary: tokens, special ones included.
        texts, held_out: learnt from, and measured on.
        bytes_per_token, tokens_per_word: means over the texts held out.
        unknown: share of the tokens that are the unknown token.
        changed: texts that do not decode to what they were, but for spaces and what the kind normalises.
    """

    folder: str
    kind: str
    vocabulary: int
    texts: int
    held_out: int
    bytes_per_token: float
    tokens_per_word: float
    unknown: float
    changed: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        architecture = "bert" if self.kind == "wordpiece" else "gpt2"
        return (
            f"tokenizer   {self.kind}, {self.vocabulary:,} tokens, learnt from {self.texts:,} texts\n"
            f"held out    {self.held_out:,} texts: {self.bytes_per_token:.2f} bytes a token, {self.tokens_per_word:.2f} tokens a word, "
            f"{self.unknown:.2%} unknown, {self.changed:,} texts changed by decoding\n"
            f"folder      {self.folder}\n"
            f"next: model: {{architecture: {architecture}, tokenizer: {self.folder}, layers: 4, hidden: 128, heads: 4}}"
        )


def tokenizer(
    data: Any,
    out: str | Path,
    *,
    text: str | None = None,
    kind: str = "bpe",
    size: int = 8000,
    lowercase: bool = False,
    chat: bool = False,
    force: bool = False,
    listen: Listen = quiet,
) -> Trained:
    """Learn a tokenizer and write its folder.

    Args:
        data: a table or a list of them (file, folder, memory), or `.txt` files, whose lines are the texts.
        out: the folder to write.
        text: the column with the texts; not needed for `.txt` files and tables of one column.
        kind: bpe, unigram or wordpiece.
        size: tokens of the vocabulary, special ones included; fewer where the texts hold fewer.
        lowercase: fold the case.
        chat: add ChatML's marks of a turn, and its template.
        force: replace a tokenizer that this wrote; anything else in a folder is left alone.

    Raises:
        UsageError: no such data, column or kind, a size that is too small, or `out` exists.
        DataError: there are too few texts.
    """
    kinds = _kinds()
    if kind not in kinds:
        raise UsageError(f"There is no tokenizer {kind!r}.", hint=suggest(kind, list(kinds)) or ", ".join(kinds))
    if size < kinds[kind].least:
        raise UsageError(
            f"A {kind} vocabulary needs at least {kinds[kind].least:,} tokens.",
            received=size,
            hint=f"--size {kinds[kind].least} or more; 8,000 to 32,000 are usual",
        )
    folder = Path(out).resolve()
    _check_out(folder, force)
    listen("progress", what="reading", done=0, total=1)
    texts = read_texts(data, text)
    learnt, kept = _parted(texts, data)
    listen("progress", what="learning", done=0, total=1)
    special = list(kinds[kind].special.values()) + (list(CHAT) if chat else [])
    raw, trainer = kinds[kind].make(size, special, lowercase)
    raw.train_from_iterator(learnt, trainer, length=len(learnt))
    _finish(raw, kind)
    listen("progress", what="measuring", done=0, total=1)
    return _write(raw, kinds[kind], folder, learnt=len(learnt), held=kept, kind=kind, chat=chat)


def read_texts(data: Any, column: str | None) -> list[str]:
    """Return the texts of a source that are not blank.

    Raises:
        UsageError: no such data or column, or several columns and none named.
    """
    if isinstance(data, (list, tuple)) and data and all(isinstance(item, (str, Path)) for item in data):
        return [text for item in data for text in read_texts(item, column)]
    if isinstance(data, (str, Path)):
        files = _plain_files(Path(data))
        if files:
            return [line for file in files for line in _lines(file) if line.strip()]
    from septet.data.read import Reading, read

    table = read(data, reading=Reading(encoding="utf-8"))  # a vocabulary learned of a wrong guess would be of no use
    if column is None and len(table.columns) == 1:
        column = next(iter(table.columns))
    if column is None or column not in table.columns:
        near = suggest(column, list(table.columns)) if column else None
        raise UsageError(
            "Which column holds the texts?" if column is None else f"There is no column {column!r}.",
            where=table.name,
            hint=near or f"--text {' or '.join(table.columns)}",
        )
    return [value for value in table.columns[column] if isinstance(value, str) and value.strip()]


def _plain_files(path: Path) -> list[Path]:
    """Return the `.txt` files that a path names or holds; none if it is something else."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and file.name.lower().removesuffix(".gz").endswith(".txt")]


def _lines(path: Path) -> list[str]:
    raw = path.read_bytes()
    try:
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file cannot be read as UTF-8 text: {error}", where=str(path)) from error


def _parted(texts: Sequence[str], data: Any) -> tuple[list[str], list[str]]:
    """Return the texts to learn from, and those to measure on.

    Raises:
        DataError: there are fewer than three.
    """
    held = {i for i in range(len(texts)) if _hashed(texts[i]) % HELD_OUT == 0}
    if not held and texts:  # few texts, none of them drawn
        held = {min(range(len(texts)), key=lambda i: _hashed(texts[i]))}
    learnt = [text for i, text in enumerate(texts) if i not in held]
    if len(learnt) < 2 or not held:
        where = str(data) if isinstance(data, (str, Path)) else None
        raise DataError(
            f"At least 3 texts are needed, to learn from and to measure on; {len(texts):,} {'was' if len(texts) == 1 else 'were'} found.",
            where=where,
            hint="a table has a text a row, a .txt file a text a line; or give several files",
        )
    return learnt, [texts[i] for i in sorted(held)]


def _check_out(folder: Path, force: bool) -> None:
    """Refuse a folder that holds something, unless it is a tokenizer of ours that may be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / FACTS).is_file():
        raise UsageError(
            "Something else is there, which is not replaced.", where=str(folder), hint="another folder: -o DIR"
        )
    if not force:
        raise UsageError("There is a tokenizer already.", where=str(folder), hint="another one: -o DIR; or --force")


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _kinds() -> dict[str, Kind]:
    sentinels = {f"extra_{i}": f"<extra_id_{i}>" for i in range(SENTINELS)}
    return {
        "bpe": Kind({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}, 300, _bpe),
        "unigram": Kind(
            {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **sentinels}, SENTINELS + 200, _unigram
        ),
        "wordpiece": Kind(
            {
                "pad_token": "[PAD]",
                "unk_token": "[UNK]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "mask_token": "[MASK]",
            },
            200,
            _wordpiece,
        ),
    }


def _bpe(size: int, special: list[str], lowercase: bool) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    if lowercase:
        raw.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return raw, trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )


def _unigram(size: int, special: list[str], lowercase: bool) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.Unigram())
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
    raw.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
    raw.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    return raw, trainers.UnigramTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=size,
        special_tokens=special,
        unk_token="<unk>",  # noqa: S106
        show_progress=False,
    )


def _wordpiece(size: int, special: list[str], lowercase: bool) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    raw.normalizer = normalizers.BertNormalizer(lowercase=lowercase)  # pyright: ignore[reportAttributeAccessIssue]
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.WordPiece()  # pyright: ignore[reportAttributeAccessIssue]
    return raw, trainers.WordPieceTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=size, special_tokens=special, show_progress=False
    )


def _finish(raw: Any, kind: str) -> None:
    """Let the tokenizer add the special tokens its kind of model expects: none for BPE."""
    from tokenizers.processors import TemplateProcessing

    if kind == "unigram":
        raw.post_processor = TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", raw.token_to_id("</s>"))]
        )
    if kind == "wordpiece":
        marks = [(mark, raw.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
        raw.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
        )


def _write(raw: Any, parts: Kind, folder: Path, *, learnt: int, held: Sequence[str], kind: str, chat: bool) -> Trained:
    """Measure, and write the folder under a temporary name first."""
    from transformers import PreTrainedTokenizerFast

    names = {name: token for name, token in parts.special.items() if name.endswith("_token")}
    extra = [token for name, token in parts.special.items() if not name.endswith("_token")] + (
        list(CHAT) if chat else []
    )
    inputs = ["input_ids", *(["token_type_ids"] if kind == "wordpiece" else []), "attention_mask"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        **names,
        extra_special_tokens=extra,
        clean_up_tokenization_spaces=False,
        model_input_names=inputs,
    )
    if chat:
        made.chat_template = fitted("chatml", made)
    figures = _measure(raw, names.get("unk_token"), held)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    made.save_pretrained(str(temporary))
    digest = hashlib.sha256((temporary / "tokenizer.json").read_bytes()).hexdigest()
    found = Trained(str(folder), kind, raw.get_vocab_size(), learnt, len(held), *figures, digest)
    (temporary / FACTS).write_text(json.dumps(found.to_json(), indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return found


def _measure(raw: Any, unknown: str | None, texts: Sequence[str]) -> tuple[float, float, float, int]:
    """Return bytes a token, tokens a word, the share of unknown tokens, and texts that decoding changes."""
    encoded = raw.encode_batch(list(texts), add_special_tokens=False)
    tokens = sum(len(each.ids) for each in encoded)
    lost = 0 if unknown is None else sum(each.ids.count(raw.token_to_id(unknown)) for each in encoded)
    decoded = raw.decode_batch([each.ids for each in encoded])
    normal = (lambda text: raw.normalizer.normalize_str(text)) if raw.normalizer else (lambda text: text)
    changed = sum("".join(normal(a).split()) != "".join(b.split()) for a, b in zip(texts, decoded, strict=True))
    return (
        sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / max(1, tokens),
        tokens / max(1, sum(len(text.split()) for text in texts)),
        lost / max(1, tokens),
        changed,
    )
