"""Makes the n-gram language model of a vocabulary from texts and from the transcripts of manifests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onebit_model.data.corpora import read_manifests
from onebit_model.errors import ModelFileError
from onebit_model.text.language_model import LanguageModelDescription, vocabulary_sha256, write_language_model
from onebit_model.text.normalization import normalise
from onebit_model.text.tokenizer import Tokenizer, read_sentences
from onebit_model.training.ngrams import MOST_TOKENS, estimate, trie


@dataclass(frozen=True)
class LanguageModelOptions:
    """`entries`: n-grams above the first order that are kept; `weight`, `token_bonus`: as the beam search uses them."""

    order: int = 5
    entries: int = 300_000
    weight: float = 0.7
    token_bonus: float = 2.5


def make_language_model(
    output: Path, tokenizer: Tokenizer, texts: Iterable[Path], held_out: Iterable[Path], options: LanguageModelOptions
) -> dict[str, int]:
    """Writes the file and returns its numbers of sentences, of those left out because the vocabulary cannot write them,
    and of n-grams by order.

    `texts` are lines (gzipped where the name ends in .gz), manifests, or folders of manifests, of which human labels
    count; no sentence of the manifests in `held_out` is used.
    """
    if len(tokenizer.pieces) >= MOST_TOKENS:
        raise ModelFileError(f"the vocabulary has {len(tokenizer.pieces)} pieces: up to {MOST_TOKENS - 1} are possible")
    hidden = {normalise(u.text) for path in held_out for u in read_manifests(path)}
    given = [text for path in texts for text in _sentences(path) if text not in hidden]
    sentences = [text for text in given if tokenizer.can_write(text)]
    if not sentences:
        raise ModelFileError(
            "the texts hold no sentence to learn from" + (": the vocabulary lacks their letters" if given else "")
        )
    encoded = [tokenizer.encode(sentence) for sentence in sentences]
    levels = estimate(encoded, options.order, len(tokenizer.pieces), options.entries)
    description = LanguageModelDescription(
        vocabulary_sha256(tokenizer.pieces),
        options.weight,
        options.token_bonus,
        {"sentences": len(sentences), "order": options.order},
    )
    write_language_model(output, description, vars(trie(levels)))
    counts = {"sentences": len(sentences), "left out (letters that the vocabulary lacks)": len(given) - len(sentences)}
    return counts | {f"{n}-grams": len(level.keys) for n, level in enumerate(levels, start=1)}


def _sentences(path: Path) -> list[str]:
    if path.is_dir() or path.suffix == ".jsonl":
        return sorted({normalise(u.text) for u in read_manifests(path) if u.labels == "human"} - {""})
    return [text for text in map(normalise, read_sentences(path)) if text]
