"""What options of several commands share: their choices, their parsing, their help."""

from __future__ import annotations

import math
from enum import StrEnum

import typer

from onebit_model.config import PRECISIONS

LANGUAGE_MODEL_HELP = "Language model of the beam search. Default: the shipped one; none: no model."


class ChunkChoice(StrEnum):
    segment = "segment"
    eight = "8"
    sixteen = "16"


class DecoderChoice(StrEnum):
    attention = "attention"
    ctc = "ctc"


class LiveChoice(StrEnum):
    chunks = "chunks"
    segment = "segment"


DECODER_HELP = (
    "Who answers: attention writes text as people do, ctc lower-case words. Default: attention if there is one."
)


def parse_bits(text: str) -> tuple[int, ...]:
    """ "4,1" -> (1, 4)."""
    try:
        bits = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        bits = ()
    if not bits or not set(bits) <= set(PRECISIONS):
        raise typer.BadParameter(f"{text!r} is not a list out of 1, 2 and 4")
    return bits


def parse_counts(text: str, option: str, most: int) -> list[int]:
    """ "1,16" -> [1, 16], of numbers from 1 to `most`."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= count <= most for count in counts):
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers from 1 to {most}", param_hint=option)
    return counts


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value
