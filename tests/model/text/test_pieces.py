"""The decoder's vocabulary: ids to text, the cut of Whisper's byte pairs, text to ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, trainers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from onebit_model.errors import ForeignFileError, ModelFileError, RecipeError
from onebit_model.text.piece_encoder import PieceEncoder, cut_vocabulary
from onebit_model.text.pieces import END, FIRST_BYTE, FIRST_MERGED, PROMPT, SINGLE_BYTES, SPECIALS, Pieces
from onebit_model.text.word_frequencies import written_words

TEXTS = [
    " Subsequently his tenure spanned more than thirty years.",
    " Flowering occurs from September to November.",
    " Author of the danger trail, Philip Steels, etc.",
    " Not at this particular case, Tom, apologized Whittemore.",
    " Chapter 1. Mrs. Rachel Lind is surprised.",
    " Mrs. Rachel Lind lived just where the Avanley main road dipped down into a little hollow,",
    " fringed with alters and ladies' eardrops, and traversed by a brook.",
    " Can I get a triple shot light roast iced coffee?",
    " I'd like a single shot mocha with soy milk.",
    " I'm sorry, I don't know; they're all his.",
    " That agent is already logged on. Please enter your agent number followed by the pound key.",
    " It cost $3.50 on May 3rd, 1887, at 10:05.",
    " The 1,250 people of No. 7 paid 25% more than in the 1990s.",
    ' "The jury," he wrote, "was out for an hour."',
    " Mister Quilter is the apostle of the middle classes, and we are glad to welcome his gospel.",
    " It's a café in São Paulo -- or Malmö?",
    " The £5 note & the €10 one: 0.5 of what it was!",
    " AT&T e-mailed info@example.com at 7 p.m.",
    " He said: ‘no’, and she said “yes”…",
    " Æthelred's son (born c. 968) was king, too.",
    " Zero",
    " yes",
    " U M N Y H 6",
    " the the that this those though through",
    " 日本語 and Ωmega and 🎉",
    " two  spaces,\ttab\nand line",
    " <|endoftext|> is text here",
]
WHISPER_SPECIALS = {
    "<|endoftext|>": 0, "<|startoftranscript|>": 1, "<|en|>": 2, "<|transcribe|>": 3, "<|nocaptions|>": 4,
    "<|notimestamps|>": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json as Whisper's, with 700 merges: bytes, merges, then specials."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=956, show_progress=False, special_tokens=[], initial_alphabet=ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    stored = json.loads(tokenizer.to_str())
    first = len(stored["model"]["vocab"])
    stored["added_tokens"] = [{"id": first + n, "content": name} for name, n in WHISPER_SPECIALS.items()]
    stored["model"]["vocab"] |= {"": first - 1, "<|endoftext|>": first}  # as the published file has them
    path = tmp_path_factory.mktemp("whisper") / "tokenizer.json"
    path.write_text(json.dumps(stored))
    return path


@pytest.fixture(scope="module")
def reference(whisper: Path) -> Tokenizer:
    """The same vocabulary, run by the tokenizers library from its file."""
    stored = json.loads(whisper.read_text()) | {"added_tokens": []}
    del stored["model"]["vocab"][""]
    return Tokenizer.from_str(json.dumps(stored))


@pytest.fixture(scope="module")
def encoder(whisper: Path) -> PieceEncoder:
    return cut_vocabulary(whisper, TEXTS, FIRST_MERGED + 150)


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_can_be_spelled(encoder: PieceEncoder, text: str) -> None:
    ids = encoder.encode(text)
    assert encoder.pieces.text(ids) == text
    assert min(ids) >= FIRST_BYTE


def test_any_character_can_be_spelled(encoder: PieceEncoder) -> None:
    text = " " + "".join(map(chr, [*range(0x250), 0x2028, 0xFFFD, 0x10FFFF]))
    assert encoder.pieces.text(encoder.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_an_uncut_vocabulary_is_whispers(whisper: Path, reference: Tokenizer, text: str) -> None:
    encoder = cut_vocabulary(whisper, TEXTS, 100_000)
    assert [encoder.whisper_ids[i] for i in encoder.encode(text)] == reference.encode(text).ids


def test_rows_of_the_embedding(encoder: PieceEncoder, whisper: Path, reference: Tokenizer) -> None:
    added = {token["content"]: token["id"] for token in json.loads(whisper.read_text())["added_tokens"]}
    assert encoder.whisper_ids[: len(SPECIALS)] == tuple(added[name] for name in WHISPER_SPECIALS)
    for row, piece in list(zip(encoder.whisper_ids, encoder.pieces.pieces, strict=True))[FIRST_MERGED:]:
        assert reference.encode(piece.decode("latin-1")).ids == [row] or not piece.isascii()
    assert len(set(encoder.whisper_ids)) == len(encoder.pieces) == FIRST_MERGED + 150


def test_the_commonest_pieces_are_kept(encoder: PieceEncoder) -> None:
    assert {b" the", b"ing", b" and"} <= set(encoder.pieces.pieces)
    assert b" traversed" not in encoder.pieces.pieces


def test_words_that_the_texts_lack_are_kept(whisper: Path) -> None:
    size = FIRST_MERGED + 150
    rare = cut_vocabulary(whisper, TEXTS, size, [(" traversed", 1000.0)])
    assert len(rare.encode(" traversed")) == 1
    assert len(cut_vocabulary(whisper, TEXTS, size).encode(" traversed")) > 1


def test_words_of_english_as_they_are_written() -> None:
    shares = dict(written_words())
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.1)
    assert shares[" the"] > 100 * shares[" drunkenness"] > 0 < shares[" London"] < shares[" london"]
    assert " 1999" in shares


def test_a_piece_is_made_of_earlier_ones(encoder: PieceEncoder) -> None:
    assert all(max(merge) < result for result, merge in enumerate(encoder.merges, start=FIRST_MERGED))


def test_a_larger_vocabulary_writes_in_fewer_pieces(whisper: Path) -> None:
    def pieces(size: int) -> int:
        encoder = cut_vocabulary(whisper, TEXTS, size)
        return sum(len(encoder.encode(text)) for text in TEXTS)

    counts = [pieces(FIRST_MERGED + n) for n in (0, 50, 150, 700)]
    assert counts[0] == sum(len(text.encode()) for text in TEXTS)
    assert counts == sorted(counts, reverse=True)


def test_a_first_merge_that_the_file_lacks_is_restored(whisper: Path, tmp_path: Path, reference: Tokenizer) -> None:
    stored = json.loads(whisper.read_text())
    del stored["model"]["merges"][0]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(stored))
    encoder = cut_vocabulary(path, TEXTS, 100_000)
    assert [encoder.whisper_ids[i] for i in encoder.encode(" the")] == reference.encode(" the").ids


def test_travels_as_json(encoder: PieceEncoder) -> None:
    again = PieceEncoder.from_json(encoder.to_json())
    assert again == encoder
    assert [again.encode(text) for text in TEXTS] == [encoder.encode(text) for text in TEXTS]


def test_a_size_without_room_for_the_bytes(whisper: Path) -> None:
    with pytest.raises(RecipeError, match="vocabulary size 200 leaves no room"):
        cut_vocabulary(whisper, TEXTS, 200)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"model": {"vocab": {}}, "added_tokens": []}',
        '{"model": {"vocab": {"a": 0, "abc": 1}}, "added_tokens": []}',
    ],
)
def test_not_whispers_tokenizer(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ForeignFileError, match=r"not a tokenizer\.json of Whisper"):
        cut_vocabulary(path, TEXTS, 300)


def test_a_piece_that_no_merge_can_make(whisper: Path, tmp_path: Path) -> None:
    stored = json.loads(whisper.read_text())
    stored["model"]["vocab"]["qqqq"] = 5000
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(ForeignFileError, match=r"not a tokenizer\.json of Whisper"):
        cut_vocabulary(path, TEXTS, 300)


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match="cannot be read: No such file"):
        cut_vocabulary(tmp_path / "tokenizer.json", TEXTS, 300)


def test_specials_write_nothing(encoder: PieceEncoder) -> None:
    assert encoder.pieces.text([*PROMPT, *encoder.encode(" Text."), END]) == " Text."


def test_half_a_character_is_replaced(encoder: PieceEncoder) -> None:
    assert encoder.pieces.text(encoder.encode("é")[:1] + encoder.encode("a")) in {"éa", "\ufffda"}
    assert encoder.pieces.text([FIRST_BYTE + 0xC3, FIRST_BYTE + ord("a")]) == "\ufffda"


def test_arrays_hold_the_pieces(encoder: PieceEncoder) -> None:
    joined, ends = encoder.pieces.arrays()
    assert (joined.dtype, ends.dtype, len(ends)) == (np.uint8, np.uint32, len(encoder.pieces))
    assert Pieces.from_arrays(joined, ends) == encoder.pieces


def test_arrays_that_do_not_fit_each_other(encoder: PieceEncoder) -> None:
    joined, ends = encoder.pieces.arrays()
    with pytest.raises(ModelFileError, match="do not end where"):
        Pieces.from_arrays(joined[:-1], ends)
    with pytest.raises(ModelFileError, match="do not end where"):
        Pieces.from_arrays(joined, np.concatenate([ends[:-2], ends[-1:], ends[-2:-1]]))
    with pytest.raises(ModelFileError, match="do not begin with"):
        Pieces.from_arrays(joined, ends[1:])


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), "do not begin with"),
        (SINGLE_BYTES, "do not begin with"),
        ((b"x", *[b""] * 5, *SINGLE_BYTES), "do not begin with"),
        ((*[b""] * 6, *SINGLE_BYTES, b""), "hold one twice"),
        ((*[b""] * 6, *SINGLE_BYTES, b"ab", b"ab"), "hold one twice"),
        ((*[b""] * 6, *SINGLE_BYTES, b"a"), "hold one twice"),
    ],
)
def test_pieces_in_another_order(pieces: tuple[bytes, ...], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Pieces(pieces)
