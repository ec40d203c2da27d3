"""Would an n-gram language model pay? A prefix beam search in Python over the log-probabilities of a packed file.

    python -m onebit_model.bench.ngram_fusion CHECKPOINT SENTENCES.txt.gz MANIFEST...

The checkpoint lends its tokenizer. Weights are chosen on every fourth utterance, rates are those of every second one,
and sentences of the manifests are left out of the model. docs/search.md has what came out.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onebit_model.checkpoint import load_checkpoint
from onebit_model.corpora import read_manifests
from onebit_model.decoding import WORD_START
from onebit_model.recognizer import Recognizer
from onebit_model.scoring import ErrorCounts, align_texts
from onebit_model.tokenizer import BLANK, Tokenizer, read_sentences

Ids = tuple[int, ...]
Rows = npt.NDArray[np.float32]
Heard = tuple[str, str, Rows]
IMPOSSIBLE = -math.inf
BEGIN = BLANK  # no sentence holds it
BITS = 4
MOST_SECONDS = 16
UTTERANCES = 150  # of each manifest
CHOICES = 12
LEAST_LOG_PROBABILITY = -7.0
# Of the language model's log-probability, and a bonus for each piece, without which a model shortens texts.
WEIGHTS = ((0.3, 0.0), (0.3, 0.5), (0.5, 0.5), (0.5, 1.0), (0.7, 1.0), (0.7, 1.5))


class KneserNey:
    """Interpolated Kneser-Ney smoothing with one discount per order (Chen and Goodman, 1999)."""

    def __init__(self, sentences: Iterable[Ids], order: int, symbols: int) -> None:
        self.end = symbols
        self._order = order
        self._symbols = symbols
        self._counts: list[dict[Ids, int]] = [defaultdict(int) for _ in range(order + 1)]
        for sentence in sentences:
            ids = (BEGIN, *sentence, self.end)
            for end in range(2, len(ids) + 1):
                gram = ids[max(0, end - order) : end]
                self._counts[len(gram)][gram] += 1
        # Below the highest order a piece counts once per piece that stands before it.
        for n in range(order, 1, -1):
            for gram in self._counts[n]:
                self._counts[n - 1][gram[1:]] += 1
        self._contexts = [_contexts(counts) for counts in self._counts]
        self._discounts = [_discount(counts) for counts in self._counts]
        self._known: dict[tuple[Ids, int], float] = {}

    def log_probability(self, before: Ids, piece: int) -> float:
        """Of `piece` or `end`; `before` starts with BEGIN."""
        key = before[-(self._order - 1) :] if self._order > 1 else (), piece
        if key not in self._known:
            self._known[key] = math.log(self._probability(*key))
        return self._known[key]

    def _probability(self, before: Ids, piece: int) -> float:
        probability = 1 / self._symbols
        for n in range(1, len(before) + 2):
            context = before[len(before) - n + 1 :]
            total, kinds = self._contexts[n].get(context, (0, 0))
            if not total:
                break
            left = max(self._counts[n].get((*context, piece), 0) - self._discounts[n], 0)
            probability = (left + self._discounts[n] * kinds * probability) / total
        return probability


def _contexts(counts: dict[Ids, int]) -> dict[Ids, tuple[int, int]]:
    """What follows each context: how often anything, and how many different pieces."""
    contexts: dict[Ids, tuple[int, int]] = {}
    for gram, count in counts.items():
        total, kinds = contexts.get(gram[:-1], (0, 0))
        contexts[gram[:-1]] = total + count, kinds + 1
    return contexts


def _discount(counts: dict[Ids, int]) -> float:
    once, twice = (sum(count == n for count in counts.values()) for n in (1, 2))
    return once / (once + 2 * twice) if once and twice else 0.5


class Fusion:
    """What a text is worth beside its acoustic probability; nothing without a model."""

    def __init__(self, model: KneserNey | None = None, weight: float = 0.0, piece_bonus: float = 0.0) -> None:
        self._model, self._weight, self._piece_bonus = model, weight, piece_bonus

    def piece(self, before: Ids, piece: int) -> float:
        if self._model is None:
            return 0.0
        return self._weight * self._model.log_probability((BEGIN, *before), piece) + self._piece_bonus

    def end(self, text: Ids) -> float:
        return self.piece(text, self._model.end) - self._piece_bonus if self._model else 0.0


def _add(a: float, b: float) -> float:
    larger, smaller = max(a, b), min(a, b)
    return larger if smaller == IMPOSSIBLE else larger + math.log1p(math.exp(smaller - larger))


def search(rows: Rows, width: int, fusion: Fusion) -> Ids:
    """(frames, outputs) log-probabilities -> the best text."""
    beam: dict[Ids, tuple[float, float, float]] = {(): (0.0, IMPOSSIBLE, 0.0)}
    for row in rows.tolist():
        best = sorted(range(1, len(row)), key=row.__getitem__, reverse=True)[:CHOICES]
        choices = [token for token in best if row[token] > LEAST_LOG_PROBABILITY]
        texts: dict[Ids, tuple[float, float, float]] = {}
        for text, (blank, token, worth) in beam.items():
            total = _add(blank, token)
            again = token + row[text[-1]] if text else IMPOSSIBLE
            texts[text] = total + row[BLANK], _add(again, texts[text][1] if text in texts else IMPOSSIBLE), worth
            for choice in choices:
                longer = (*text, choice)
                score = (blank if text and text[-1] == choice else total) + row[choice]
                old = texts.get(longer) or (IMPOSSIBLE, IMPOSSIBLE, worth + fusion.piece(text, choice))
                texts[longer] = old[0], _add(old[1], score), old[2]
        ranked = sorted(texts, key=lambda text: _add(*texts[text][:2]) + texts[text][2], reverse=True)
        beam = {text: texts[text] for text in ranked[:width]}
    return max(beam, key=lambda text: _add(*beam[text][:2]) + beam[text][2] + fusion.end(text))


def log_probabilities(recognizer: Recognizer, manifests: Iterable[Path]) -> list[Heard]:
    """(manifest, reference text, log-probabilities) of short utterances."""
    engine = recognizer.engine(BITS)
    heard = []
    for manifest in manifests:
        short = (u for u in read_manifests(manifest) if u.duration_seconds < MOST_SECONDS)
        for utterance in itertools.islice(short, UTTERANCES):
            stream = engine.open(0, keep_logits=True)
            stream.feed(utterance.audio.read())
            stream.finish()
            engine.step([stream])
            logits = stream.take().logits
            assert logits is not None
            heard.append((manifest.stem, utterance.text, logits))
    return heard


def word_error_rates(
    heard: Sequence[Heard], find: Callable[[Rows], Ids], vocabulary: Sequence[str]
) -> dict[str, float]:
    """In %, of each manifest and of all."""
    counts: dict[str, ErrorCounts] = defaultdict(ErrorCounts)
    for name, reference, rows in heard:
        text = "".join(vocabulary[token - 1] for token in find(rows)).replace(WORD_START, " ")
        for key in (name, "all"):
            counts[key] += align_texts(reference, " ".join(text.split())).counts
    return {name: round(100 * count.rate, 2) for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    arguments = parser.parse_args()
    recognizer = Recognizer.load()
    vocabulary = recognizer.vocabulary
    tokenizer = Tokenizer(load_checkpoint(arguments.checkpoint).tokenizer)
    assert tuple(tokenizer.pieces) == vocabulary, "the checkpoint has another vocabulary than the packed file"
    heard = log_probabilities(recognizer, arguments.manifests)
    tune, test = heard[::4], heard[1::2]
    references = {text for _, text, _ in heard}
    sentences = [
        tuple(tokenizer.encode(text)) for text in read_sentences(arguments.sentences) if text not in references
    ]

    def rates(utterances: Sequence[Heard], width: int, fusion: Fusion) -> dict[str, float]:
        return word_error_rates(utterances, lambda rows: search(rows, width, fusion), vocabulary)

    for width in (8, 16):
        print(f"no model, beam {width}: {rates(test, width, Fusion())}", flush=True)
    for order in (3, 4, 5):
        model = KneserNey(sentences, order, len(vocabulary) + 1)
        weights = min(WEIGHTS, key=lambda pair: rates(tune, 8, Fusion(model, *pair))["all"])
        for width in (8, 16):
            print(f"{order}-gram {weights}, beam {width}: {rates(test, width, Fusion(model, *weights))}", flush=True)


if __name__ == "__main__":
    main()
