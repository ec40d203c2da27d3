"""What is not said letter by letter: how figures, abbreviations and symbols of written English are found and read."""

from __future__ import annotations

import re
from collections.abc import Callable

from onebit_model.text import spoken_numbers as numbers

ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "messrs": "messieurs", "dr": "doctor", "st": "saint", "jr": "junior",
    "sr": "senior", "prof": "professor", "capt": "captain", "col": "colonel", "lieut": "lieutenant", "lt": "lieutenant",
    "sgt": "sergeant", "rev": "reverend", "hon": "honorable", "esq": "esquire", "etc": "et cetera", "vs": "versus",
    "maj": "major", "ltd": "limited", "ft": "fort", "gov": "governor",
}  # fmt: skip
UNITS = {
    "km": "kilometers", "cm": "centimeters", "mm": "millimeters", "kg": "kilograms", "mg": "milligrams", "ft": "feet",
    "lb": "pounds", "lbs": "pounds", "oz": "ounces", "mph": "miles per hour", "km/h": "kilometers per hour",
    "kph": "kilometers per hour", "tb": "terabytes", "gb": "gigabytes", "mb": "megabytes", "kb": "kilobytes",
    "hz": "hertz", "khz": "kilohertz", "mhz": "megahertz", "ghz": "gigahertz", "kw": "kilowatts", "hr": "hours",
    "hrs": "hours", "min": "minutes", "mins": "minutes", "sec": "seconds", "secs": "seconds",
}  # fmt: skip
FRACTIONS = {
    "1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters",
    "1/8": "one eighth", "3/8": "three eighths", "5/8": "five eighths", "7/8": "seven eighths",
}  # fmt: skip
SYMBOLS = {"&": "and", "@": "at", "+": "plus", "%": "percent"}
SCALES = {"C": "degrees celsius", "F": "degrees fahrenheit", None: "degrees"}
MULTIPLES = {
    "k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "tn": "trillion",
}  # fmt: skip


def _money(match: re.Match[str]) -> str:
    short, fraction = match["short_multiple"], match["hundredths"] or ""
    multiple = MULTIPLES[short.lower()] if short else (match["multiple"] or "").lower()
    whole = match["money_whole"]
    if fraction and (multiple or len(fraction) != 2):
        whole, fraction = f"{whole}.{fraction}", ""
    return numbers.money(match["currency"], whole, fraction, multiple)


def _clock(match: re.Match[str]) -> str:
    said = numbers.clock(int(match["hour"]), int(match["minute"]))
    half = match["clock_half"]
    return f"{said.removesuffix(numbers.O_CLOCK)} {half} m" if half else said


def _fraction(match: re.Match[str]) -> str:
    said, whole = FRACTIONS[match["fraction_part"]], match["fraction_whole"]
    return f"{numbers.number(whole)} and {said.replace('one ', 'a ')}" if whole else said


def _range(match: re.Match[str]) -> str:
    first, last = match["first"], match["last"]
    to = " to " if int(first) < int(last) else " "
    return f"{numbers.number(first)}{to}{numbers.number(last)}"


def _measure(match: re.Match[str]) -> str:
    value = match["measure_value"]
    first, *rest = UNITS[match["measure_unit"].lower()].split()
    if value == "1":
        first = {"feet": "foot", "hertz": "hertz"}.get(first, first.removesuffix("s"))
    return " ".join([numbers.amount(value), first, *rest])


_NAME_BEFORE = re.compile(r"(?:\b[A-Z][a-z]+|\d(?:st|nd|rd|th)) $")
_NAME_AFTER = re.compile(r" [A-Z]")
_WORD_AFTER = re.compile(r" [A-Za-z0-9]")


def _saint_or_street(match: re.Match[str]) -> str:
    """A street after its name, a saint before it; what is neither stays as it is written."""
    text, end = match.string, match.end()
    if _NAME_BEFORE.search(text[: match.start()]) and not _NAME_AFTER.match(text, end):
        return "street"
    return "saint" if match[0].endswith(".") and _WORD_AFTER.match(text, end) else "st"


def _short(match: re.Match[str]) -> str:
    return ABBREVIATIONS[match[0].removesuffix(".").lower()]


def _any_of(words: dict[str, str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?![\d,]*\d)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d+)?|(?<![\w.])\.\d+)"

Said = Callable[[re.Match[str]], str]
_FORMS: dict[str, tuple[str, Said]] = {
    "phone": (
        r"(?<![\w.,-])(?:\+?1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])?\d{3}[-.]\d{4}(?![\w-])",
        lambda m: numbers.one_by_one(m[0]),
    ),
    "money": (
        rf"(?:\bUS)?(?P<currency>[$£€]) ?(?P<money_whole>{_WHOLE})(?:\.(?P<hundredths>\d+))?"
        r"(?: (?P<multiple>hundred|[Tt]housand|[MmBb]illion|[Tt]rillion)\b|"
        rf"(?P<short_multiple>(?i:{_any_of(MULTIPLES)}))\b)?",
        _money,
    ),
    "cents": (r"(?P<cent_count>\d{1,6}) ?¢", lambda m: f"{numbers.amount(m['cent_count'])} cents"),
    "clock": (
        r"(?<![\w:.,])(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?![\w:])(?: ?(?P<clock_half>[AaPp])\.?[Mm]\b)?",
        _clock,
    ),
    "half_day": (
        r"(?<![\w:.,])(?P<half_hour>\d{1,2}) ?(?P<half>[AaPp])\.?[Mm]\b",
        lambda m: f"{numbers.number(m['half_hour'])} {m['half']} m",
    ),
    "decade": (r"(?<![\w.,])(?P<tens>\d\d\d0|[1-9]0)'?s\b", lambda m: numbers.decade(int(m["tens"]))),
    "ordinal": (
        r"(?<![\d.])(?P<nth>\d{1,3}(?:,\d{3}){1,3}|\d{1,9})(?i:st|nd|rd|th)\b",
        lambda m: numbers.ordinal(int(m["nth"].replace(",", ""))),
    ),
    "fraction": (
        rf"(?<![\w/.])(?:(?P<fraction_whole>\d+)[- ])?(?P<fraction_part>{_any_of(FRACTIONS)})(?![\w/])",
        _fraction,
    ),
    "measure": (rf"(?P<measure_value>{_DECIMAL}) ?(?P<measure_unit>(?i:{_any_of(UNITS)}))\b(?!')", _measure),
    "range": (r"(?<![\w.,:/-])(?P<first>\d{1,4})-(?P<last>\d{1,4})(?![\w:/-]|[.,]\d)", _range),
    "minus": (r"(?<![^\s(])-(?=\.?\d)", lambda _: "minus"),
    "number_of": (r"(?:#|\b(?:No|no|NO)\.) ?(?=\d)", lambda _: "number"),
    "numbers_of": (r"\b[Nn]os\. ?(?=\d)", lambda _: "numbers"),
    "number": (_DECIMAL, lambda m: numbers.number(m[0])),
    "saint_or_street": (r"\bSt\b\.?", _saint_or_street),
    "title": (r"\b(?:Mrs?|Ms|Messrs|Dr)\b\.?", _short),
    "abbreviation": (rf"\b(?i:{_any_of(ABBREVIATIONS)})\.(?= [A-Za-z0-9])", _short),
    "symbol": (r"[&@+%]", lambda m: SYMBOLS[m[0]]),
    "degrees": (r"°(?: ?(?P<scale>[CF])\b)?", lambda m: SCALES[m["scale"]]),
    "word": (r"[A-Za-z']+", lambda m: m[0]),
}
_ANY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (pattern, _) in _FORMS.items()), re.ASCII)


def spoken_forms(text: str) -> list[tuple[str, int, int]]:
    """What is said for each part of an ASCII text with single spaces, and the part's first and last position + 1.

    What stands between the parts is not said. The first form that fits at a place counts.
    """
    return [(_FORMS[str(match.lastgroup)][1](match), match.start(), match.end()) for match in _ANY.finditer(text)]
