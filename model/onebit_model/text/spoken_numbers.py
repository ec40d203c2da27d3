"""Figures as they are said: counts, years, times, money, decimals, ordinals."""

from __future__ import annotations

ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
GROUPS = ("thousand", "million", "billion", "trillion")
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip

# As many digits as people say as one number; longer ones are read digit by digit.
MOST_DIGITS = 6
MOST_GROUPED_DIGITS = 3 * (len(GROUPS) + 1)

O_CLOCK = " o'clock"
CURRENCIES = {
    "$": ("dollar", "dollars", "cents"),
    "£": ("pound", "pounds", "pence"),
    "€": ("euro", "euros", "cents"),
}


def cardinal(value: int) -> str:
    """0 to 999,999,999,999,999, with `and` before what follows the hundreds, or the last two digits."""
    if not value:
        return "zero"
    higher, last = divmod(value, 1000)
    said: list[str] = []
    for name in GROUPS:
        higher, group = divmod(higher, 1000)
        if group:
            said.insert(0, f"{_below_a_thousand(group)} {name}")
    if last:
        said += [*(["and"] if said and last < 100 else []), _below_a_thousand(last)]
    return " ".join(said)


def _below_a_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    said = [f"{ONES[hundreds - 1]} hundred"] if hundreds else []
    if rest:
        said += [*(["and"] if hundreds else []), _below_a_hundred(rest)]
    return " ".join(said)


def _below_a_hundred(value: int) -> str:
    if value < 20:
        return (*ONES, *TEENS)[value - 1]
    tens, ones = divmod(value, 10)
    return f"{TENS[tens - 2]} {ONES[ones - 1]}" if ones else TENS[tens - 2]


def ordinal(value: int) -> str:
    """Of the same range: the last word becomes an ordinal."""
    before, space, last = cardinal(value).rpartition(" ")
    return f"{before}{space}{ordinal_word(last)}"


def ordinal_word(word: str) -> str:
    return ORDINALS.get(word) or (f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th")


def one_by_one(figures: str) -> str:
    return " ".join(cardinal(int(figure)) for figure in figures if figure.isdigit())


def figures(text: str) -> str:
    """A run of digits without a comma: `05` is said with its zero, `1887` like a year, a long one digit by digit."""
    if len(text) == 2 and text[0] == "0":
        return f"oh {cardinal(int(text))}"
    if len(text) > MOST_DIGITS or (len(text) > 1 and text[0] == "0"):
        return one_by_one(text)
    return year(int(text)) if len(text) == 4 else cardinal(int(text))


def year(value: int) -> str:
    """Pairs of digits where people say pairs: from 1100 and again from 2010."""
    if not (1100 <= value < 2000 or 2010 <= value < 2100):
        return cardinal(value)
    century, rest = divmod(value, 100)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {_two_digits(rest)}"


def _two_digits(value: int) -> str:
    return f"oh {cardinal(value)}" if value < 10 else cardinal(value)


def number(text: str) -> str:
    """`1,250`, `3.14`, `.5` or a run of digits."""
    whole, _, fraction = text.partition(".")
    bare = whole.replace(",", "")
    if len(bare) > (MOST_GROUPED_DIGITS if "," in whole else MOST_DIGITS):
        said = one_by_one(bare)
    elif fraction or "," in whole:
        said = cardinal(int(bare)) if bare else ""
    else:
        said = figures(bare)
    return f"{said} point {one_by_one(fraction)}".strip() if fraction else said


def amount(text: str) -> str:
    """A number that counts something, money for one: never read like a year."""
    bare = text.replace(",", "")
    return cardinal(int(bare)) if bare.isdigit() and len(bare) <= MOST_GROUPED_DIGITS else number(text)


def decade(value: int) -> str:
    """`1990s` and `90s` without their s: nineteen nineties, nineties."""
    said = year(value)
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def clock(hour: int, minute: int) -> str:
    return cardinal(hour) + (f" {_two_digits(minute)}" if minute else O_CLOCK)


def money(currency: str, whole: str, hundredths: str, multiple: str) -> str:
    """`$3.50`: three dollars and fifty cents; `$2.5 million`: the fraction is part of `whole`, and no hundredths."""
    one, many, parts = CURRENCIES[currency]
    if hundredths and not multiple:
        small = f"{cardinal(int(hundredths))} {parts}"
        return f"{money(currency, whole, '', '')} and {small}" if int(whole.replace(",", "")) else small
    value = f"{whole}.{hundredths}" if hundredths else whole
    return " ".join([amount(value), *multiple.split(), one if value == "1" and not multiple else many])
