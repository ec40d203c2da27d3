"""Text to the decoder's pieces: Whisper's byte-level byte pairs, cut to what the texts use (training only)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from onebit_model.errors import ForeignFileError, RecipeError
from onebit_model.text.pieces import FIRST_BYTE, FIRST_MERGED, SINGLE_BYTES, SPECIALS, Pieces

WHISPER_SPECIALS = {
    "end": ("<|endoftext|>",),
    "start": ("<|startoftranscript|>",),
    "english": ("<|en|>",),
    "transcribe": ("<|transcribe|>",),
    "no_speech": ("<|nospeech|>", "<|nocaptions|>"),
    "no_timestamps": ("<|notimestamps|>",),
}
_NO_WHISPER = "the tokenizer is not a tokenizer.json of Whisper: take the one that is published with its weights"

Merge = tuple[int, int]


@dataclass(frozen=True)
class PieceEncoder:
    """`merges`: the two parts of each merged piece, as ids of ours; the result of the first has the id 262.

    `whisper_ids`: per id of ours the row of Whisper's embedding.
    """

    merges: tuple[Merge, ...]
    whisper_ids: tuple[int, ...]

    @cached_property
    def pieces(self) -> Pieces:
        written = [*[b""] * len(SPECIALS), *SINGLE_BYTES]
        for left, right in self.merges:
            written.append(written[left] + written[right])
        return Pieces(tuple(written))

    def encode(self, text: str) -> list[int]:
        """Ids of a text without specials. Whisper's texts begin with a space: `" Text"`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        symbols = [piece.decode("latin-1").translate(_SYMBOLS) for piece in self.pieces.pieces]
        ids = {symbol: i for i, symbol in enumerate(symbols) if symbol}
        return _byte_level(ids, [(symbols[left], symbols[right]) for left, right in self.merges])

    def to_json(self) -> str:
        return json.dumps({"merges": self.merges, "whisper_ids": self.whisper_ids})

    @classmethod
    def from_json(cls, text: str) -> PieceEncoder:
        stored = json.loads(text)
        return cls(tuple((left, right) for left, right in stored["merges"]), tuple(stored["whisper_ids"]))


def cut_vocabulary(
    tokenizer_json: Path, texts: Iterable[str], size: int, words: Iterable[tuple[str, float]] = ()
) -> PieceEncoder:
    """At most `size` pieces, specials and bytes included, that write the texts and `words` in the fewest pieces.

    `words` count as often as is said beside them. They are what the texts lack: a decoder that may not write a piece
    does not spell the word in others, it writes another word.

    A piece counts wherever it stands, as a piece of a text or as a part of one: no piece is commoner than its parts, so
    the commonest pieces can all be made, and leaving the others out adds the fewest pieces to the texts.
    Raises ForeignFileError for a tokenizer that is not Whisper's, RecipeError for a size without room for the bytes.
    """
    if size < FIRST_MERGED:
        raise RecipeError(f"decoder vocabulary size {size} leaves no room for the {FIRST_MERGED} bytes and specials")
    specials, ids = _read_vocabulary(tokenizer_json)
    parts = _parts(ids)
    counts = _counts(ids, parts, chain(((text, 1.0) for text in texts), words))
    kept = sorted(
        sorted(counts, key=lambda symbol: (-counts[symbol], ids[symbol]))[: size - FIRST_MERGED], key=ids.__getitem__
    )
    ours = {symbol: FIRST_BYTE + value for value, symbol in enumerate(_SYMBOLS.values())}
    ours |= {symbol: i for i, symbol in enumerate(kept, start=FIRST_MERGED)}
    merges = [(ours[left], ours[right]) for left, right in map(parts.__getitem__, kept)]
    return PieceEncoder(tuple(merges), (*specials, *(ids[symbol] for symbol in ours)))


def _read_vocabulary(path: Path) -> tuple[list[int], dict[str, int]]:
    """Whisper's ids of our specials, and those of the symbols that stand for bytes."""
    try:
        stored = json.loads(path.read_text())
        added = {token["content"]: token["id"] for token in stored["added_tokens"]}
        ids = {symbol: i for symbol, i in stored["model"]["vocab"].items() if symbol and symbol not in added}
    except OSError as error:
        raise ForeignFileError(f"the tokenizer cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeignFileError(_NO_WHISPER) from error
    specials = [
        next((added[name] for name in WHISPER_SPECIALS[special] if name in added), None) for special in SPECIALS
    ]
    known = [i for i in specials if i is not None]
    if len(known) < len(SPECIALS) or not ids.keys() >= set(_SYMBOLS.values()):
        raise ForeignFileError(_NO_WHISPER)
    return known, ids


def _parts(ids: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """The two pieces that each merged piece is made of: what all merges before its own leave of it.

    The file's own list of merges is not read: one that is published lacks the first, so that ` the` became two pieces.
    """
    parts = {}
    for symbol in sorted(ids, key=ids.__getitem__):
        if len(symbol) > 1:
            left = _merged(symbol, ids)
            if len(left) != 2:
                raise ForeignFileError(_NO_WHISPER)
            parts[symbol] = (left[0], left[1])
    return parts


def _merged(symbol: str, ids: Mapping[str, int]) -> list[str]:
    """Byte pair encoding of a piece with the pieces before it."""
    pieces = list(symbol)
    while True:
        rank, at = min(
            ((ids.get(a + b, ids[symbol]), at) for at, (a, b) in enumerate(pairwise(pieces))), default=(ids[symbol], 0)
        )
        if rank >= ids[symbol]:
            return pieces
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


def _counts(
    ids: dict[str, int], parts: Mapping[str, tuple[str, str]], texts: Iterable[tuple[str, float]]
) -> dict[str, float]:
    """How often each merged piece is made in writing the texts, on its own or on the way to a longer one."""
    tokenizer = _byte_level(ids, list(parts.values()))
    counts: defaultdict[str, float] = defaultdict(float)
    for text, times in texts:
        for token in tokenizer.encode(text, add_special_tokens=False).tokens:
            counts[token] += times
    for symbol, (left, right) in reversed(list(parts.items())):
        if symbol in counts:
            counts[left] += counts[symbol]
            counts[right] += counts[symbol]
    return {symbol: count for symbol, count in counts.items() if symbol in parts}


def _byte_level(ids: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(BPE(ids, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    return tokenizer


def _byte_symbols() -> dict[int, str]:
    """The letter that stands for each byte in a byte-level vocabulary (Radford et al. 2019): itself where visible."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [value for value in range(256) if value not in visible]
    symbols = {value: chr(value) for value in visible} | {value: chr(256 + n) for n, value in enumerate(hidden)}
    return dict(sorted(symbols.items()))


_SYMBOLS = _byte_symbols()


def train_vocabulary(texts: Iterable[str], size: int) -> PieceEncoder:
    """Byte pairs of the texts alone, for a decoder that starts from nothing.

    Raises RecipeError for a size without room for the bytes, or larger than the texts have pairs for.
    """
    if size < FIRST_MERGED:
        raise RecipeError(f"decoder vocabulary size {size} leaves no room for the {FIRST_MERGED} bytes and specials")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = BpeTrainer(
        vocab_size=size - FIRST_BYTE, initial_alphabet=list(_SYMBOLS.values()), show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(texts, trainer)
    stored = json.loads(tokenizer.to_str())["model"]
    ours = {symbol: FIRST_BYTE + value for value, symbol in enumerate(_SYMBOLS.values())}
    merges = []
    for left, right in (pair if isinstance(pair, list) else pair.split(" ") for pair in stored["merges"]):
        merges.append((ours[left], ours[right]))
        ours[left + right] = FIRST_MERGED + len(merges) - 1
    if FIRST_MERGED + len(merges) != size:
        raise RecipeError(
            f"decoder vocabulary size {size} does not suit the training texts: they give {FIRST_MERGED + len(merges)}"
        )
    return PieceEncoder(tuple(merges), ())
