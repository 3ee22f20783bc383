"""A finished run of a very small model, made in code: prepared rows, an artifact of a two-layer encoder, a profile."""

from __future__ import annotations

from pathlib import Path

TEXT = "where is my parcel late invoice wrong refund please help broken lamp login password order two never came"
WORDS = TEXT.split()


def texts(count: int, seed: int = 0) -> list[str]:
    """Return different short texts."""
    import random

    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choices(WORDS, k=draw.randint(2, 8)))] = None
    return list(found)


def make_model(folder: Path, *, pair: bool = False, max_length: int = 32) -> None:
    """Write the artifact of an untrained encoder with three labels; its answers differ from text to text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from septet.model.artifact import write_artifact
    from septet.tasks.classify import Classify, Options

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    options = Options(text=["body", "reply"] if pair else "body", label="team")
    task = Classify(options, ["money", "post", "shop"], [1.0, 1.0, 1.0], max_length)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=64,
        initializer_range=0.6,
        **sizes,
        **task.heads()["label"].config,
    )
    model = BertForSequenceClassification(config).eval()
    from septet.data.clean import Cleaning

    clean = Cleaning()
    write_artifact(folder, model=model, task=task, processor=tokenizer, clean=clean, dtype="float32", card="# small\n")


def make_run(folder: Path, *, rows: int = 400) -> Path:
    """Write a run: prepared data, a model with its profile, the recipe."""
    from septet.model.artifact import seal
    from septet.model.predictor import Predictor
    from septet.prepare import prepare
    from septet.recipe import Recipe
    from septet.run import Run
    from septet.watch import profile

    table = [{"body": text, "team": ("money", "post", "shop")[i % 3]} for i, text in enumerate(texts(rows))]
    source = {
        "data": {"train": "memory", "split": {"validation": 0.4, "test": 0.2}},
        "task": {"name": "classify", "text": "body", "label": "team"},
        "model": "starter",
    }
    recipe = Recipe.load(source, in_memory=("train",))
    run = Run(folder / "runs" / "one").create()
    run.write_text("recipe.given.yaml", recipe.given)
    run.write_text("recipe.yaml", recipe.to_yaml())
    prepared = prepare(recipe, run, tables={"train": table})
    make_model(run.model)
    profile.write(run.model, Predictor.load(run.model).predict(prepared.rows("validation"), embed=True))
    seal(run.model)
    run.finish()
    return run.path
