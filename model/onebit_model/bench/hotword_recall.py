"""What beams and hotwords bring: the engine's own search over the log-probabilities of a packed file.

    python -m onebit_model.bench.hotword_recall SENTENCES.txt.gz MANIFEST...

Hotwords of an utterance are its words outside the most frequent ones of the sentences, and as many of other utterances
as a user's list might hold beside them. docs/search.md has what came out.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onebit_kernels import Hotwords
from onebit_kernels._core import BeamSearch
from onebit_model.bench.ngram_fusion import Heard, Rows, log_probabilities
from onebit_model.decoding import WORD_START, text_of, words_from_tokens
from onebit_model.recognizer import Recognizer
from onebit_model.scoring import ErrorCounts, align_texts
from onebit_model.search import MOST_HOTWORDS
from onebit_model.tokenizer import BLANK, read_sentences

FREQUENT_WORDS = 3_000
SHORTEST_LETTERS = 4
FOREIGN_HOTWORDS = 50


@dataclass
class Tally:
    errors: ErrorCounts = field(default_factory=ErrorCounts)
    right: int = 0
    rare: int = 0
    foreign: int = 0

    def add(self, reference: str, heard: str, rare: set[str], hotwords: set[str]) -> None:
        words = set(heard.split())
        self.errors += align_texts(reference, heard).counts
        self.right += len(words & rare)
        self.rare += len(rare)
        self.foreign += len((words & hotwords) - set(reference.split()))


def rare_words(utterances: Sequence[Heard], sentences: Sequence[str]) -> list[set[str]]:
    counts = Counter(word for sentence in sentences for word in sentence.split())
    frequent = {word for word, _ in counts.most_common(FREQUENT_WORDS)}
    return [
        {word for word in text.split() if word not in frequent and len(word) >= SHORTEST_LETTERS}
        for _, text, _ in utterances
    ]


def heard_text(rows: Rows, beam: int, hotwords: Hotwords | None, vocabulary: Sequence[str]) -> str:
    """Beam 1 is greedy."""
    if beam == 1:
        best = (int(token) for token, _ in itertools.groupby(rows.argmax(axis=1)))
        text = "".join(vocabulary[token - 1] for token in best if token != BLANK)
        return " ".join(text.replace(WORD_START, " ").split())
    decided, tentative = BeamSearch(beam, rows.shape[1], hotwords).advance(rows)
    return text_of(words_from_tokens([*decided, *tentative], vocabulary))


def tally(utterances: Sequence[Heard], rare: Sequence[set[str]], beam: int, with_hotwords: bool) -> Tally:
    vocabulary = Recognizer.load().vocabulary
    pool = sorted(set().union(*rare))
    generator = random.Random(1)
    result = Tally()
    for (_, reference, rows), own in zip(utterances, rare, strict=True):
        phrases = [*sorted(own), *generator.sample(pool, FOREIGN_HOTWORDS)][:MOST_HOTWORDS]
        hotwords = Hotwords(phrases, list(vocabulary)) if with_hotwords else None
        result.add(reference, heard_text(rows, beam, hotwords, vocabulary), own, set(phrases))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    arguments = parser.parse_args()
    utterances = log_probabilities(Recognizer.load(), arguments.manifests)
    rare = rare_words(utterances, read_sentences(arguments.sentences))
    for with_hotwords in (False, True):
        for beam in (2, 8, 16, 32) if with_hotwords else (1, 2, 8, 16, 32):
            result = tally(utterances, rare, beam, with_hotwords)
            name = f"beam {beam}, hotwords" if with_hotwords else f"beam {beam}"
            rate = 100 * result.errors.rate
            print(f"| {name} | {rate:.1f} | {result.right} of {result.rare} | {result.foreign} |", flush=True)


if __name__ == "__main__":
    main()
