"""N-gram estimation against sums done by hand, the file, and what the shipped model brings."""

from __future__ import annotations

import gzip
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from onebit_kernels import LanguageModel
from onebit_model.data.reference import read_set
from onebit_model.errors import CorpusError, DamagedFileError, ForeignFileError, ModelFileError, TextFileError
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.files.assets import SHIPPED_LANGUAGE_MODEL
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.decoding import text_of
from onebit_model.text.language_model import (
    LanguageModelDescription,
    chosen_language_model,
    load_language_model,
    vocabulary_sha256,
    write_language_model,
)
from onebit_model.text.tokenizer import read_sentences, train_tokenizer
from onebit_model.training import language_model_training
from onebit_model.training.language_model_training import LanguageModelOptions, make_language_model
from onebit_model.training.ngrams import Level, estimate, log_probabilities, trie

TOKENS = 6
VOCABULARY = tuple("abcdef")
BEGIN = 0


def texts(seed: int = 0, count: int = 400) -> list[list[int]]:
    """A chain in which what follows depends on the last two tokens."""
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.full(TOKENS, 0.4), (TOKENS + 1, TOKENS + 1))
    sentences = []
    for _ in range(count):
        text = [BEGIN, BEGIN]
        for _ in range(int(random.integers(1, 12))):
            text.append(1 + int(random.choice(TOKENS, p=table[text[-2], text[-1]])))
        sentences.append(text[2:])
    return sentences


def probability(levels: Sequence[Level], context: Sequence[int], token: int) -> float:
    key = 0
    for part in (*context, token):
        key = key << 9 | part
    return float(np.exp(log_probabilities(levels, np.array([key], np.uint64), len(context) + 1))[0])


def kneser_ney(sentences: Sequence[Sequence[int]], context: tuple[int, ...], token: int, order: int) -> float:
    """Interpolated modified Kneser-Ney smoothing as Chen and Goodman write it, with dictionaries."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    for sentence in sentences:
        ids = (BEGIN, *sentence)
        for n in range(1, order + 1):
            counts[n].update(ids[i : i + n] for i in range(1 if n == 1 else 0, len(ids) - n + 1))
    for n in range(1, order):
        kinds = Counter(gram[1:] for gram in counts[n + 1])
        counts[n] = Counter({gram: kinds.get(gram, count) for gram, count in counts[n].items()})

    def discounts(n: int) -> list[float]:
        n1, n2, n3, n4 = (sum(count == c for count in counts[n].values()) for c in (1, 2, 3, 4))
        if not min(n1, n2, n3, n4):
            return [0.0, 0.5, 0.75, 0.75]
        y = n1 / (n1 + 2 * n2)
        return [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]

    following: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for n in range(1, order + 1):
        for gram, count in counts[n].items():
            following[gram[:-1]].append(count)

    def smoothed(context: tuple[int, ...]) -> float:
        lower = smoothed(context[1:]) if context else 1 / TOKENS
        seen = following.get(context)
        if not seen:
            return lower
        discount = discounts(len(context) + 1)
        count = counts[len(context) + 1][(*context, token)]
        share = count - discount[min(count, 3)]
        left = sum(discount[min(c, 3)] for c in seen)
        return (share + left * lower) / sum(seen)

    return smoothed(context)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_definition(order: int) -> None:
    sentences = texts()
    levels = estimate(sentences, order, TOKENS)
    contexts = list(itertools.product(range(TOKENS + 1), repeat=order - 1))[:: max(1, 3 ** (order - 2))]
    for context in contexts:
        if BEGIN in context[1:]:
            continue
        for token in range(1, TOKENS + 1):
            expected = kneser_ney(sentences, context, token, order)
            assert probability(levels, context, token) == pytest.approx(expected, rel=1e-9), (context, token)


@pytest.mark.parametrize("entries", [None, 100, 30, 0])
def test_probabilities_sum_to_one_behind_every_context(entries: int | None) -> None:
    levels = estimate(texts(), 4, TOKENS, entries)
    for n in range(4):
        for context in itertools.product(range(1, TOKENS + 1), repeat=n):
            assert sum(probability(levels, context, t) for t in range(1, TOKENS + 1)) == pytest.approx(1)


def test_pruning_keeps_what_matters_most() -> None:
    """Perplexity of unseen texts rises with what is cut, slowly; contexts of what is kept are kept."""
    training, unseen = texts()[:300], texts()[300:]
    perplexities = []
    for entries in (None, 120, 40, 5):
        levels = estimate(training, 3, TOKENS, entries)
        kept = sum(len(level.keys) for level in levels[1:])
        assert entries is None or entries <= kept <= 2 * entries + 5
        logs = [
            math.log(probability(levels, tuple([BEGIN, *text][max(0, i - 1) : i + 1]), text[i]))
            for text in unseen
            for i in range(len(text))
        ]
        perplexities.append(math.exp(-sum(logs) / len(logs)))
    assert perplexities == sorted(perplexities)
    assert perplexities[1] < 1.1 * perplexities[0]
    assert perplexities[-1] < TOKENS


def written(path: Path, vocabulary: Sequence[str] = VOCABULARY) -> Path:
    description = LanguageModelDescription(vocabulary_sha256(vocabulary), 0.5, 1.0)
    write_language_model(path, description, vars(trie(estimate(texts(), 3, TOKENS, 60))))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    assert isinstance(load_language_model(path, VOCABULARY), LanguageModel)
    assert isinstance(chosen_language_model(path, VOCABULARY), LanguageModel)
    assert written(tmp_path / "b").read_bytes() == path.read_bytes()


def test_no_model_is_chosen_by_name_or_where_the_shipped_one_does_not_fit() -> None:
    assert chosen_language_model("none", Recognizer.load().vocabulary) is None
    assert chosen_language_model("", VOCABULARY) is None
    assert chosen_language_model("", Recognizer.load().vocabulary) is not None


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "model")
    with pytest.raises(ModelFileError, match="another vocabulary"):
        load_language_model(path, tuple("abcdeg"))
    with pytest.raises(ModelFileError, match="there is no language model here"):
        load_language_model(tmp_path / "missing", VOCABULARY)
    with pytest.raises(ForeignFileError, match="not one of onebit language model"):
        load_language_model(Recognizer.load().path, VOCABULARY)
    bytes_of = bytearray(path.read_bytes())
    bytes_of[-1] ^= 1
    path.write_bytes(bytes_of)
    with pytest.raises(DamagedFileError, match="SHA-256"):
        load_language_model(path, VOCABULARY)


def test_held_out_sentences_are_not_learned(tmp_path: Path) -> None:
    lines = [f"the cat sat on the {word}" for word in ("mat", "hat", "bed", "sofa", "chair")]
    tokenizer = train_tokenizer(lines * 10, 24)
    source = tmp_path / "lines.txt"
    source.write_text("\n".join(lines))
    held_out = tmp_path / "held.jsonl"
    held_out.write_text(f'{{"id": "1", "audio": "1.wav", "text": "{lines[0]}", "duration": 1}}\n')
    output = tmp_path / "model"
    options = LanguageModelOptions(order=3, entries=50)
    assert make_language_model(output, tokenizer, [source], [held_out], options)["sentences"] == 4
    assert load_language_model(output, tokenizer.pieces).resident_bytes > 0
    with pytest.raises(ModelFileError, match="no sentence"):
        make_language_model(output, tokenizer, [held_out], [held_out], options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="empty: no manifest"):
        make_language_model(output, tokenizer, [source], [tmp_path / "empty"], options)


def test_a_vocabulary_that_no_key_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model_training, "MOST_TOKENS", 20)
    tokenizer = train_tokenizer(["turn the light on"] * 3, 20)
    with pytest.raises(ModelFileError, match="the vocabulary has 20 pieces: up to 19 are possible"):
        make_language_model(tmp_path / "model", tokenizer, [], [], LanguageModelOptions())


def test_sentences_that_the_vocabulary_cannot_write_are_left_out_and_counted(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["turn the light on"] * 3, 20)
    source = tmp_path / "texts.txt"
    source.write_text("Turn the light on.\nTurn the 2nd light on.\n\nThe light\n")
    made = make_language_model(tmp_path / "model", tokenizer, [source], [], LanguageModelOptions(order=2, entries=50))
    assert (made["sentences"], made["left out (letters that the vocabulary lacks)"]) == (2, 1)
    source.write_text("1 2 3\n")
    with pytest.raises(ModelFileError, match="the vocabulary lacks their letters"):
        make_language_model(tmp_path / "model", tokenizer, [source], [], LanguageModelOptions(order=2, entries=50))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", None, "No such file"),
        ("a.txt", b"one\ntwo \xff\n", "line 2 is not UTF-8"),
        ("a.gz", b"one\n", "Not a gzipped file"),
        ("a.gz", gzip.compress(b"one\n" * 100)[:-9], "ended before"),
    ],
)
def test_texts_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TextFileError, match=f"{name}: .*{complaint}"):
        read_sentences(tmp_path / name)


def test_the_shipped_model_takes_errors_away() -> None:
    """On every sixth clip of the shipped set librispeech-other: a tenth of the errors of the greedy search or more."""
    recognizer, greedy = Recognizer.load(), Recognizer.load(language_model="none")
    assert SHIPPED_LANGUAGE_MODEL.stat().st_size < 2_500_000
    counts = {}
    for name, model in (("greedy", greedy), ("fused", recognizer)):
        counts[name] = ErrorCounts()
        for utterance in list(read_set("librispeech-other"))[::6]:
            segments = model.transcribe(utterance.audio.read(), 4, 0, model.search(decoder="ctc"))
            text = text_of(word for segment in segments for word in segment.words)
            counts[name] += align_texts(utterance.text, text).counts
    assert counts["fused"].rate < 0.9 * counts["greedy"].rate


def test_noise_does_not_become_words() -> None:
    recognizer = Recognizer.load()
    random = np.random.default_rng(0)
    hiss = (0.05 * random.standard_normal(20 * 16_000)).astype(np.float32)
    hum = (0.1 * np.sin(2 * np.pi * 100 * np.arange(20 * 16_000) / 16_000)).astype(np.float32)
    for bits in recognizer.bits:
        for sound in (hiss, hum):
            heard = recognizer.transcribe(sound, bits, 0, recognizer.search(decoder="ctc"))
            assert [segment.text for segment in heard if segment.text] == []
