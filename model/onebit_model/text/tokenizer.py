"""Byte-pair vocabulary of the CTC head, trained with sentencepiece (training only; serving reads pieces)."""

import gzip
import io
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from onebit_model.errors import RecipeError, TextFileError

BLANK = 0


class Tokenizer:
    """Text <-> token ids; id 0 is the CTC blank, ids 1..n are the pieces in order."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def pieces(self) -> list[str]:
        """The pieces of ids 1..n; a leading U+2581 starts a word."""
        return [self._processor.id_to_piece(i) for i in range(1, self._processor.get_piece_size())]

    def can_write(self, text: str) -> bool:
        """Whether the pieces have every character of a text: digits, for one, are no part of the shipped vocabulary."""
        return BLANK not in self._processor.encode(text)

    def encode(self, text: str) -> list[int]:
        """Token ids without blanks; a character outside a-z, apostrophe and space raises ValueError."""
        ids = self._processor.encode(text)
        if BLANK in ids:
            raise ValueError(f"text holds characters outside the vocabulary: {text!r}")
        return [int(i) for i in ids]

    def decode(self, ids: list[int]) -> str:
        return str(self._processor.decode(ids))


def train_tokenizer(sentences: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Byte-pair merges over normalised sentences; the unknown symbol takes the blank's id 0.

    Raises RecipeError for texts that have no vocabulary of this size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size + 1,
            character_coverage=1.0,
            unk_id=BLANK,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise RecipeError(
            f"vocabulary_size {vocabulary_size} does not suit the training texts: {_reason(str(error))}"
        ) from error
    return Tokenizer(model.getvalue())


def _reason(message: str) -> str:
    """What sentencepiece says, in our terms: it counts the unknown symbol as a piece."""
    if most := re.search(r"too high .* <= (\d+)", message):
        return f"they give no more than {int(most[1]) - 1} pieces"
    if least := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        return f"their characters alone are {int(least[1]) - 1} pieces"
    return message.rpartition("] ")[2].strip() or "they are empty"


def read_sentences(path: Path) -> list[str]:
    """Lines of a text file, gzipped when its name ends in .gz; raises TextFileError."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        return raw.decode().splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise TextFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TextFileError(f"{path}: line {line} is not UTF-8") from error
