"""The options of `classify`, and what makes no sense of one beside another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from septet.recipe.block import Problem


class Options(BaseModel):
    """What `task: {name: classify, …}` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str | None = Field(
        None,
        description="Instead of text: column with pictures, as paths; `image` where the data are a folder of pictures, one sub-folder a label.",
        json_schema_extra={"why": "the rows are texts"},
        examples=["image"],
    )
    audio: str | None = Field(
        None,
        description="Instead of text: column with recordings, as paths; `audio` where the data are a folder of recordings, one sub-folder a label.",
        json_schema_extra={"why": "the rows are texts"},
        examples=["audio"],
    )
    columns: Literal["all"] | list[str] | None = Field(
        None,
        min_length=1,
        description="Instead of text: the columns of a table, which are read as a list of `name: value`; all: every column but the label and those of data.split. Missing values are left out.",
        json_schema_extra={"why": "one column holds the text"},
        examples=[["age", "glucose"]],
    )
    text: str | list[str] | None = Field(
        None,
        validate_default=True,
        description="Column with the text, or two columns for a pair of texts.",
        json_schema_extra={"why": "the rows are pictures or recordings"},
        examples=["body"],
    )
    size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="With image: pixels of both sides that pictures are scaled to, 8 to 4,096. Lower it where the model takes any size and time is short.",
        json_schema_extra={"why": "what the model's folder says"},
        examples=[224],
    )
    seconds: float | None = Field(
        None,
        ge=0.1,
        le=600,
        allow_inf_nan=False,
        description="With audio: seconds that recordings are cut or filled to, 0.1 to 600. Lower it where the start of a recording tells the label and time is short.",
        json_schema_extra={"why": "what the model's folder says, or what holds 99 % of the training recordings"},
        examples=[2.5],
    )
    label: str = Field(description="Column with the label; its values are the classes.")
    labels: list[str] | None = Field(
        None,
        description="The labels in a fixed order. Leave it out to take them from the training rows.",
        json_schema_extra={"why": "the labels of the training rows, sorted"},
    )
    label_smoothing: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        allow_inf_nan=False,
        description="Share of the target's probability spread over all labels, 0 to below 1. Raise to 0.1 where labels are noisy. Class weights weigh the whole row.",
        json_schema_extra={"why": "labels are taken as true"},
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none",
        description="Weight of each label in the loss: none, balanced (rows / (labels x rows of the label)), or a number for each label.",
        json_schema_extra={"why": "every row counts the same"},
    )
    loss: Literal["cross-entropy", "focal"] = Field(
        "cross-entropy",
        description="What is minimised: cross-entropy, or focal loss, which counts rows less that are already answered well. Change it where most rows are easy and few matter.",
        json_schema_extra={"why": "its probabilities mean what they say; focal loss makes them less sure"},
    )
    gamma: float | None = Field(
        None,
        ge=0.0,
        le=10.0,
        allow_inf_nan=False,
        description="Power of focal loss: a row counts (1 - probability of its label) ** gamma, 0 to 10; 0 is cross-entropy, higher looks at hard rows alone.",
        json_schema_extra={"why": "2 with focal loss, the best of 0 to 5 in Lin et al. 2017, table 1b"},
    )

    @field_validator("text")
    @classmethod
    def _one_or_two(cls, value: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        if value is None and all(info.data.get(name) is None for name in ("image", "audio", "columns")):
            raise ValueError(
                "is missing: column with the text, or two for a pair; or task.columns, of numbers and categories; or task.image or task.audio, with files"
            )
        if isinstance(value, list) and len(value) != 2:
            raise ValueError("must be one column or a list of two columns")
        return value

    @field_validator("class_weights")
    @classmethod
    def _positive(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(value, dict) and not all(0 < weight < float("inf") for weight in value.values()):
            raise ValueError("must hold numbers above 0")
        return value

    def problems(self) -> Iterator[Problem]:
        given = [name for name in ("text", "image", "audio") if getattr(self, name) is not None]
        if len(given) > 1:
            what = f"cannot be given beside task.{given[0]}: a row is a text, a picture or a recording."
            yield Problem(given[1], what, "remove one of the two")
        if self.seconds is not None and self.audio is None:
            yield Problem("seconds", "would be ignored: it is of recordings.", "remove it")
        if self.columns is not None and given:
            yield Problem("columns", f"cannot be given beside task.{given[0]}.", "remove one of the two")
        if isinstance(self.columns, list) and len({*self.columns}) < len(self.columns):
            yield Problem("columns", "names a column twice.", "each once")
        if self.size is not None and self.image is None:
            yield Problem("size", "would be ignored: it is of pictures.", "remove it")
        if self.gamma is not None and self.loss != "focal":
            yield Problem("gamma", "would be ignored: it is the power of focal loss.", "task.loss: focal")
        if self.loss == "focal" and self.label_smoothing:
            yield Problem(
                "label_smoothing",
                "cannot be combined with focal loss, which knows one label a row.",
                "label_smoothing: 0",
            )
