"""Written labels: a person's words in a recogniser's spelling, a corpus's own text, and their file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.data.label_file import read_labels, write_labels
from onebit_model.data.labels import spelled_like, written
from onebit_model.errors import CorpusError
from onebit_model.text.canonical_forms import canonical


@pytest.mark.parametrize(
    ("words", "transcript", "expected"),
    [
        # They agree: the transcript, with all that it writes.
        ("HE HATES SHOOTING", "He hates shooting.", "He hates shooting."),
        ("MISTER QUILTER IS GLAD", "Mr. Quilter is glad.", "Mr. Quilter is glad."),
        ("I'M SURE THEY DON'T", "I'm sure they don't!", "I'm sure they don't!"),
        ("YES 'TIS SO", "Yes, 'tis so.", "Yes, 'tis so."),
        ("IT IS WELL KNOWN", "It is well-known.", "It is well-known."),
        ("HE SAID COME IN", 'He said, "Come in."', 'He said, "Come in."'),
        ("HE SAID COME IN", "He said, “Come in.”", 'He said, "Come in."'),
        # One written part for several words.
        ("IT COST THREE DOLLARS AND FIFTY CENTS", "It cost $3.50.", "It cost $3.50."),
        ("THREE MILLION DOLLARS WERE LOST", "$3 million were lost.", "$3 million were lost."),
        ("IN EIGHTEEN EIGHTY SEVEN HE DIED", "In 1887, he died.", "In 1887, he died."),
        ("CHAPTER SEVEN PERRY", "Chapter 7. Perry.", "Chapter 7. Perry."),
        ("AT FIVE P M WE MET", "At 5 p.m., we met.", "At 5 p.m., we met."),
        ("A TWENTY FIVE PERCENT SHARE", "A 25 % share", "A 25 % share"),
        ("U M N Y H SIX", "U-M-N-Y-H-6.", "U-M-N-Y-H-6."),
        ("NUMBER SEVEN IS SAINT PAUL'S", "No. 7 is St. Paul's.", "No. 7 is St. Paul's."),
        ("zero", "0.", "0."),
        ("IN TWO THOUSAND FIVE A HUNDRED MEN", "In 2005, 100 men", "In 2005, 100 men"),
        ("TWELVE HUNDRED FIFTY OF THEM", "1,250 of them.", "1,250 of them."),
        ("MAY THE THIRD IS THE DAY", "May 3rd is the day.", "May the 3rd is the day."),
        # They differ: the person's word, the recogniser's punctuation.
        ("WE SAW THE COLOR THEN HE LEFT", "We saw the collar. Then he left.", "We saw the color. Then he left."),
        ("IT COST THREE DOLLARS AND SIXTY CENTS THERE IN ALL", "It cost $3.50 there in all.",
         "It cost three dollars and sixty cents there in all."),
        ("IN EIGHTEEN EIGHTY EIGHT HE DIED", "In 1887, he died.", "In eighteen eighty eight, he died."),
        ("IT IS WELL KNOWN", "It's well-known.", "It is well-known."),
        ("I'M SURE I DON'T", "I am sure I don't.", "I'm sure I don't."),
        ("THEN I'LL GO IF I'M LATE", "Then aisle go if I'm late.", "Then I'll go if I'm late."),
        ("SAID SHE COME HERE NOW", 'Said she, "Calm here now."', 'Said she, "Come here now."'),
        # Names keep their capital under another spelling.
        ("NOR IS MISTER QUILTER'S MANNER", "Nor is Mr. Kwilter's manner.", "Nor is Mr. Quilter's manner."),
        ("WE MET ANNE THERE", "We met Ann there.", "We met Anne there."),
        ("AND FIFTY GUINEAS WERE OFFERED", "And 50 Juinas were offered.", "And 50 guineas were offered."),
        ("AT THE END SEAMED ONE", "At the end Seen one", "At the end seamed one"),
        ("A MAN MET ANNE", "The man met Ann.", "A man met Anne."),
        # Words that one side lacks.
        ("AND THE MAN WENT HOME", "The man went home.", "And the man went home."),
        ("AND TOM WENT HOME", "Tom went home.", "And Tom went home."),
        ("THE MAN WENT HOME", "And the man went home.", "The man went home."),
        ("HE CAME THE MAN WENT HOME", "He came. And the man went home.", "He came. The man went home."),
        ("THE MAN WENT HOME", "The man went home, too.", "The man went home."),
        ("THE MAN WENT HOME", "The man went home. You know.", "The man went home."),
        ("HE LEFT US THEN THEY CAME", "He left us, you know. Then they came.", "He left us. Then they came."),
        ("SO HE WENT AND WENT HOME", "So he went home.", "So he went and went home."),
        ("THE END OF THE FIRST AND LAST BOOK", "The end of the book.", "The end of the first and last book."),
        # A transcript of no use, or none.
        ("ZERO", "You", "Zero"),
        ("U M N Y H SIX", "You and my age six.", "U M N Y H six"),
        ("A B C I O", "Thank you.", "A B C I O"),
        ("i think i'm late", "Thank you for watching!", "I think I'm late"),
        ("HELLO", "", "Hello"),
        ("HELLO", "...", "Hello"),
        ("", "Hello.", ""),
        ("GOOD-BYE O'BRIEN", "", "Good bye o'brien"),
        # Words that would read otherwise beside the recogniser's figures.
        ("FIVE MIN AGO", "5 men ago.", "Five min ago"),
    ],
)  # fmt: skip
def test_spelling(words: str, transcript: str, expected: str) -> None:
    assert spelled_like(words, transcript) == expected


WRITTEN = "The the man, Man. $3.50 1887, 5 p.m. No. 7 Mr. St. Paul's well-known -- “I'm” 3 million 25% U.S. A. ' ... &"
SPOKEN = (
    "the man three dollars and fifty cents eighteen eighty seven five p m number mister saint paul's well known i'm "
    "million twenty percent u s a"
)
TOKENS = st.sampled_from(WRITTEN.split())
WORDS = st.sampled_from(SPOKEN.split())


@given(st.lists(WORDS, max_size=14), st.lists(TOKENS, max_size=10))
def test_every_word_is_the_persons(words: list[str], tokens: list[str]) -> None:
    label = spelled_like(" ".join(words).upper(), " ".join(tokens))
    assert canonical(label) == canonical(" ".join(words))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("He went home.", "He went home."),
        ("  two  spaces\tand a\nline ", "Two spaces and a line"),
        ('"Quoted as a whole."', "Quoted as a whole."),
        ("“Curly ‘quotes’ here”", "Curly 'quotes' here"),
        ("'Single.'", "Single."),
        ("\"'Twice.'\"", "Twice."),
        ('"I see," he said.', '"I see," he said.'),
        ('"A" and "B"', '"A" and "B"'),
        ("'Tis the end", "'Tis the end"),
        ("it’s mine", "It's mine"),
        ("élan vital", "Élan vital"),
        ("(see below)", "(See below)"),
        ("1st place", "1st place"),
        ("'80s music", "'80s music"),
        ("wait… what", "Wait... what"),
        ("", ""),
        ('""', ""),
    ],
)
def test_written(raw: str, expected: str) -> None:
    assert written(raw) == expected
    assert written(expected) == expected


LABELS = {
    ("librispeech", "84-1"): "He said, “é”.",
    ("an4", "b"): "Yes",
    ("an4", "a"): "line\u2028separator",
    ("librispeech", "100-1"): "",
}


def test_label_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl.gz"
    write_labels(path, LABELS)
    assert read_labels(path) == LABELS
    assert list(read_labels(path)) == sorted(LABELS)


def test_equal_labels_are_equal_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gz", tmp_path / "other.gz"
    write_labels(one, LABELS)
    write_labels(other, dict(reversed(LABELS.items())))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{}", "line 1 is no row of corpus, id and text"),
        ("\n", "line 1 is no row"),
        ('{"corpus": "a", "id": "b", "text": "c"}\n[]', "line 2 is no row"),
        ('{"corpus": "a", "id": 1, "text": "c"}', "line 1 repeats a clip or holds something that is not text"),
        ('{"corpus": "a", "id": "b", "text": "c"}\n' * 2, "line 2 repeats a clip"),
    ],
)
def test_not_a_label_file(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "labels.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(CorpusError, match=message):
        read_labels(path)


def test_a_label_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl.gz"
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        read_labels(path)
    path.write_bytes(b"not gzip")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_labels(path)
    path.write_bytes(gzip.compress(b"\xff"))
    with pytest.raises(CorpusError, match="cannot be read"):
        read_labels(path)
