"""What beam, language model and hotwords bring: the engine's search over the log-probabilities of a packed file.

    onebit bench hotword-recall SENTENCES.txt.gz MANIFEST...

Hotwords of an utterance are its words outside the most frequent ones of the sentences, and as many of other utterances
as a user's list might hold beside them. docs/search.md has what came out.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onebit_kernels import BeamSearch, Hotwords
from onebit_model.data.corpora import read_manifests
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.decoding import WORD_START, text_of, words_from_tokens
from onebit_model.text.language_model import NONE
from onebit_model.text.search import MOST_HOTWORDS, Search
from onebit_model.text.tokenizer import BLANK, read_sentences

Rows = npt.NDArray[np.float32]
Heard = tuple[str, str, Rows]
BITS = 4
MOST_SECONDS = 16
UTTERANCES = 150  # of each manifest
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


def heard_text(rows: Rows, search: Search, vocabulary: Sequence[str]) -> str:
    if search.beam == 1:
        best = (int(token) for token, _ in itertools.groupby(rows.argmax(axis=1)))
        text = "".join(vocabulary[token - 1] for token in best if token != BLANK)
        return " ".join(text.replace(WORD_START, " ").split())
    searching = BeamSearch(search.beam, rows.shape[1], search.hotwords, search.language_model)
    decided, tentative = searching.advance(rows)
    return text_of(words_from_tokens([*decided, *tentative], vocabulary))


def tally(
    recognizer: Recognizer, utterances: Sequence[Heard], rare: Sequence[set[str]], beam: int, with_hotwords: bool
) -> Tally:
    vocabulary = recognizer.vocabulary
    pool = sorted(set().union(*rare))
    generator = random.Random(1)
    result = Tally()
    for (_, reference, rows), own in zip(utterances, rare, strict=True):
        phrases = [*sorted(own), *generator.sample(pool, min(FOREIGN_HOTWORDS, len(pool)))][:MOST_HOTWORDS]
        hotwords = Hotwords(phrases, list(vocabulary)) if with_hotwords else None
        search = Search(beam, hotwords, recognizer.tools.language_model if beam > 1 else None)
        result.add(reference, heard_text(rows, search, vocabulary), own, set(phrases))
    return result


def table(sentences: Path, manifests: Sequence[Path]) -> Iterator[str]:
    """Markdown, row by row: search, word errors in %, rare words that were found, hotwords that were not said."""
    recognizer = Recognizer.load()
    utterances = log_probabilities(recognizer, manifests)
    rare = rare_words(utterances, read_sentences(sentences))
    yield "| | word errors % | rare words found | hotwords that were not said |"
    yield "|---|---|---|---|"
    for language_model in (NONE, ""):
        recognizer = Recognizer.load(language_model=language_model)
        for with_hotwords, beam in itertools.product((False, True), (1, 2, 8, 16, 32)):
            if beam == 1 and (with_hotwords or not language_model):
                continue
            result = tally(recognizer, utterances, rare, beam, with_hotwords)
            name = f"beam {beam}" + ("" if language_model else ", language model") + (", hotwords" * with_hotwords)
            yield f"| {name} | {100 * result.errors.rate:.1f} | {result.right} of {result.rare} | {result.foreign} |"
