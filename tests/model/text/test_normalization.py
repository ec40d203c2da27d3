"""What is said when a written text is read aloud."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.text.normalization import normalise, spoken_units

TABLE = {
    # Letters, punctuation, apostrophes.
    "Hello,  World!": "hello world",
    "don’t 'quote' o'clock": "don't quote o'clock",
    "the dogs' tail": "the dogs tail",
    "Café naïve, Ångström, Søren, Æsop, straße": "cafe naive angstrom soren aesop strasse",
    "well-known\ttwo\nlines": "well known two lines",
    "isn't—well—so–so": "isn't well so so",
    "' ' --": "",
    "北京": "",
    "rock 'n' roll": "rock n roll",
    # Counts.
    "7 of 12": "seven of twelve",
    "105 or 1,250 people": "one hundred and five or one thousand two hundred and fifty people",
    "1,000,000": "one million",
    "0 and 00 and 05 and 007": "zero and oh zero and oh five and zero zero seven",
    "1,000,001 and 1,100,012": "one million and one and one million one hundred thousand and twelve",
    "20,300 of 105,000": "twenty thousand three hundred of one hundred and five thousand",
    "2,000,000,000,000": "two trillion",
    "1234567": "one two three four five six seven",
    "1,111,111,111,111,111": " ".join(["one"] * 16),
    "3.14, .5 and 0.05": "three point one four point five and zero point zero five",
    "-5 and −3.5 but 4-5": "minus five and minus three point five but four to five",
    "1914–1918": "nineteen fourteen to nineteen eighteen",
    "a score of 7-1": "a score of seven one",
    "½ or 3½ or 3 1/2 or 2/3": "one half or three and a half or three and a half or two thirds",
    "12/25/2004": "twelve twenty five two thousand and four",
    "3D, MP3, B2B": "three d mp three b two b",
    # Years and decades.
    "in 1887, 1905 and 1900": "in eighteen eighty seven nineteen oh five and nineteen hundred",
    "2000, 2004, 2010, 2025": "two thousand two thousand and four twenty ten twenty twenty five",
    "1066 and 3500": "one thousand and sixty six and three thousand five hundred",
    "the 1990s, the '80s, the 80's": "the nineteen nineties the eighties the eighties",
    "the 1800s and 1910s": "the eighteen hundreds and nineteen tens",
    # Ordinals.
    "the 1st, 2nd, 3RD and 21st": "the first second third and twenty first",
    "May 3rd": "may third",
    "the 8th, 12th, 40th and 100th": "the eighth twelfth fortieth and one hundredth",
    "the 1,001st night": "the one thousand and first night",
    # Money.
    "$5, $1 and £1": "five dollars one dollar and one pound",
    "$3.50 or £2.05": "three dollars and fifty cents or two pounds and five pence",
    "$0.99": "ninety nine cents",
    "$1,250": "one thousand two hundred and fifty dollars",
    "$1887": "one thousand eight hundred and eighty seven dollars",
    "£90,000.": "ninety thousand pounds",
    "$3 million and $2.5 billion": "three million dollars and two point five billion dollars",
    "$5k and €3bn": "five thousand dollars and three billion euros",
    "US$20": "twenty dollars",
    "50¢": "fifty cents",
    # Times.
    "at 10:05 and 10:30": "at ten oh five and ten thirty",
    "at 10:00.": "at ten o'clock",
    "at 10:00 a.m. or 5PM": "at ten a m or five p m",
    "at 7 p.m. today": "at seven p m today",
    "7 am": "seven a m",
    "I am 7": "i am seven",
    # Percent, units, symbols.
    "25% or 2.5 %": "twenty five percent or two point five percent",
    "5 km, 1 kg, 6 ft. tall": "five kilometers one kilogram six feet tall",
    "60 mph or 100km/h": "sixty miles per hour or one hundred kilometers per hour",
    "1 ft": "one foot",
    "20°C or 70 °F, 5°": "twenty degrees celsius or seventy degrees fahrenheit five degrees",
    "AT&T + you @ home": "at and t plus you at home",
    "No. 7, #8, Nos. 9 and 10": "number seven number eight numbers nine and ten",
    "No. I said no.": "no i said no",
    # Abbreviations.
    "Mr. and Mrs. O'Brien met Dr Who": "mister and missus o'brien met doctor who",
    "St. Paul's in St. Louis": "saint paul's in saint louis",
    "on Main St. and 5th St.": "on main street and fifth street",
    "on Main St. near St. Mary's": "on main street near saint mary's",
    "Capt. Smith, Prof. Jones, Ft. Worth": "captain smith professor jones fort worth",
    "cats, dogs, etc. and more, etc.": "cats dogs et cetera and more etc",
    "in the U.S. at 7": "in the u s at seven",
    # Numbers that are read figure by figure.
    "555-1234": "five five five one two three four",
    "(800) 555-0199": "eight zero zero five five five zero one nine nine",
    "call 1-800-555-0199 now": "call one eight zero zero five five five zero one nine nine now",
}


@pytest.mark.parametrize("text", TABLE)
def test_what_is_said(text: str) -> None:
    assert normalise(text) == TABLE[text]


@given(st.one_of(st.text(), st.text("09:.,$%-/ aApPmMsStT°½'"), st.lists(st.sampled_from([*TABLE])).map(" ".join)))
def test_what_is_said_stays(text: str) -> None:
    said = normalise(text)
    assert normalise(said) == said
    assert set(said) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert said == " ".join(said.split())


@given(st.one_of(st.text(), st.lists(st.sampled_from([*TABLE])).map(" ".join)))
def test_units_say_all_that_is_said(text: str) -> None:
    units = spoken_units(text)
    assert " ".join(word for unit in units for word in unit.said) == normalise(text)
    bounds = [bound for unit in units for bound in (unit.first, unit.last)]
    assert bounds == sorted(bounds)
    assert len({unit.last for unit in units}) == len(units)


def test_units_are_what_is_said_together() -> None:
    text = "Mr. A — paid $3 million at 5 p.m., on 5th-6th"
    parts = text.split()
    units = [(" ".join(parts[unit.first : unit.last + 1]), " ".join(unit.said)) for unit in spoken_units(text)]
    assert units == [
        ("Mr.", "mister"),
        ("A", "a"),
        ("paid", "paid"),
        ("$3 million", "three million dollars"),
        ("at", "at"),
        ("5 p.m.,", "five p m"),
        ("on", "on"),
        ("5th-6th", "fifth sixth"),
    ]
