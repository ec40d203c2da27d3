"""One form for what can be said or spelled in several ways, so that none of them counts as an error.

Each rule changes both sides of a comparison. What two texts say alike stays alike, and a rule that is a little too
general (`a hundred` is `one hundred`) only forgives that difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from onebit_model.text.normalization import normalise
from onebit_model.text.spoken_forms import ABBREVIATIONS
from onebit_model.text.spoken_numbers import ONES, TEENS, TENS, ordinal_word

_UNDER_TWENTY = (*ONES, *TEENS)
_ORDINALS = tuple(map(ordinal_word, (*_UNDER_TWENTY, *TENS)))


def _any_of(*words: str) -> str:
    return f"(?:{'|'.join(words)})"


_ONE, _TEEN, _TEN = (_any_of(*words) for words in (ONES, TEENS, TENS))
_SMALL = _any_of(*ONES, *TEENS, *TENS)
_MULTIPLE = _any_of("hundred", "thousand", "million", "billion", "trillion")
_COUNT = _any_of(_SMALL, _MULTIPLE, "oh")
_FIGURE = _any_of(*ONES, "oh", "zero", "o")
_ORDINAL = _any_of(*_ORDINALS)

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rule(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    """Whole words: an apostrophe belongs to its word."""
    return re.compile(rf"(?<![a-z']){pattern}(?:(?<= )|(?![a-z']))"), replacement


def _alone(short: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
    """Only where no other number stands before it: `two thousand fifty`, not `thirty two thousand fifty`."""
    return lambda match: match[0] if match["before"] else short(match)


_BEFORE = rf"(?P<before>{_COUNT} )?"

# Numbers get their shortest form: years as pairs, no `and`, `hundred` only before nothing or a larger multiple.
_NUMBERS: tuple[Rule, ...] = (
    _rule(rf"(?:{_FIGURE} )+{_FIGURE}", lambda m: re.sub(r"\b(?:zero|o)\b", "oh", m[0])),
    _rule(rf"a (?={_MULTIPLE}\b)", "one "),
    _rule(rf"({_MULTIPLE}) and (?=(?:{_SMALL}|{_ORDINAL})\b)", r"\1 "),
    _rule(
        rf"{_BEFORE}one thousand (?P<ones>{_ONE}) hundred",
        _alone(lambda m: f"{TEENS[ONES.index(m['ones']) + 1]} hundred"),
    ),
    _rule(
        rf"{_BEFORE}(?P<tens>{_TEN}) (?P<ones>{_ONE}) hundred",
        _alone(lambda m: f"{ONES[TENS.index(m['tens']) + 1]} thousand {m['ones']} hundred"),
    ),
    _rule(
        rf"{_BEFORE}(?P<thousands>one|two) thousand (?={_TEEN}|{_TEN})",
        _alone(lambda m: "ten " if m["thousands"] == "one" else "twenty "),
    ),
    _rule(rf"{_BEFORE}twenty oh (?P<ones>{_ONE})", _alone(lambda m: f"two thousand {m['ones']}")),
    _rule(rf"({_SMALL}) hundred (?={_ONE}\b)", r"\1 oh "),
    _rule(rf"({_SMALL}) hundred (?={_TEEN}\b|{_TEN}\b)", r"\1 "),
    _rule(rf"zero (?=point {_COUNT}\b|point zero\b)", ""),
    _rule(rf"({_COUNT}) (dollar|pound|euro|cent)s", r"\1 \2"),
    _rule(rf"(dollar|pound|euro) and (?={_SMALL}\b)", r"\1 "),
    _rule(rf"(dollar|pound|euro) ({_SMALL}(?: {_ONE})?) (?:cent|pence)", r"\1 \2"),
    _rule(rf"({_COUNT}) o'clock (?=[ap] ?m\b)", r"\1 "),
    _rule("(?:a|one) half", "half"),
)

_MONTHS = _any_of(
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip


def _day(match: re.Match[str]) -> str:
    return f"{match['month']} {match['tens'] or ''}{_UNORDERED[match['last']]}"


_UNORDERED = dict(zip(_ORDINALS, (*_UNDER_TWENTY, *TENS), strict=True))
_DAY = _rule(rf"(?P<month>{_MONTHS}) (?:the )?(?P<tens>(?:twenty|thirty) )?(?P<last>{_any_of(*_ORDINALS[:21])})", _day)

_ROMANS = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii",
           "xviii", "xix", "xx")  # fmt: skip
_COUNTED = _any_of(
    "act", "appendix", "article", "book", "canto", "chapter", "class", "division", "figure", "grade", "level", "number",
    "page", "part", "phase", "psalm", "round", "scene", "section", "table", "title", "type", "verse", "volume", "war",
)  # fmt: skip


def _roman(match: re.Match[str]) -> str:
    """Henry VIII is the eighth, Chapter VIII is eight."""
    at = _ROMANS.index(match["roman"]) + 1
    if re.fullmatch(_COUNTED, match["named"]):
        return f"{match['named']} {[*ONES, *TEENS, 'twenty'][at]}"
    return f"{match['named']} {'' if match['named'] == 'the' else 'the '}{_ORDINALS[at]}"


# I, v and x are rather letters.
_ROMAN = _rule(rf"(?P<named>[a-z']+) (?P<roman>{_any_of(*(r for r in _ROMANS if len(r) > 1))})", _roman)

_WORDS = {word: said for word, said in ABBREVIATIONS.items() if word not in ("col", "ft", "hon", "gov")} | {
    "okay": "ok", "etcetera": "et cetera", "alright": "all right", "missis": "missus", "grey": "gray", "gaol": "jail",
    "plough": "plow", "programme": "program", "cheque": "check", "defence": "defense", "offence": "offense",
    "licence": "license", "pretence": "pretense", "skilful": "skillful", "wilful": "willful", "fulfil": "fulfill",
    "judgement": "judgment", "mould": "mold", "moustache": "mustache", "travelled": "traveled", "pyjamas": "pajamas",
    "traveller": "traveler", "travellers": "travelers", "travelling": "traveling", "marvellous": "marvelous",
    "jewellery": "jewelry", "towards": "toward", "tyre": "tire",
}  # fmt: skip
_WORD = _rule(_any_of(*_WORDS), lambda match: _WORDS[match[0]])

# British spelling as American; the words that have these letters for another reason are not listed.
_SPELLINGS: tuple[Rule, ...] = (
    (
        re.compile(
            r"((?:col|hon|fav|lab|neighb|harb|hum|behavi|rum|flav|vap|parl|arm|endeav|splend|vig|od|cand|clam|ferv|ranc|"
            r"savi|sav|succ|tum|val|ard|arb|glam|rig|demean)o)ur"
        ),
        r"\1r",
    ),
    _rule(r"((?:cent|theat|met|lit|fib|somb|spect|scept|lust|calib|sab|kilomet|centimet|millimet))re(s?)", r"\1er\2"),
    _rule(
        r"((?:real|recogn|organ|civil|apolog|special|critic|author|character|memor|util|modern|colon|harmon|sympath|"
        r"agon|monopol|general|natural|patron|scrutin|tyrann|bapt|equal|neutral|mobil|summar|material)i)s"
        r"(e|ed|es|er|ers|ing|ation|ations)",
        r"\1z\2",
    ),
)

# Written as one word and as two.
_COMPOUNDS: tuple[Rule, ...] = (
    _rule("(to) (day|night|morrow)", r"\1\2"),
    _rule("(some|any|every) (one|body|thing|where)", r"\1\2"),
    _rule("(in|on) to", r"\1to"),
    _rule("per cent", "percent"),
    _rule("can not", "cannot"),
    _rule("good bye", "goodbye"),
    _rule("for ever", "forever"),
    _rule("any more", "anymore"),
    _rule("(e) (mails?)", r"\1\2"),
    _rule("web (sites?)", r"web\1"),
)

# Written with full stops and without, as two initials of a name are; other letters are spelled and stay apart.
_INITIALS = (
    "am", "pm", "usa", "us", "uk", "un", "eu", "dc", "tv", "pc", "dvd", "fbi", "cia", "ibm", "bbc", "nbc", "cbs",
    "cnn", "phd", "dna", "ufo", "www", "usb", "pbx",
)  # fmt: skip
_JOINED = _rule(
    rf"(?:(?<!\b[b-hj-z] ){_any_of(*map(' '.join, _INITIALS))}(?! [b-hj-z]\b)|"
    r"(?<!\b[a-z] )[b-hj-np-z] [b-hj-np-z](?! [a-z]\b))",
    lambda match: match[0].replace(" ", ""),
)

_RULES = (*_NUMBERS, _DAY, _JOINED, _ROMAN, _WORD, *_SPELLINGS, *_COMPOUNDS)


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """`normalise`, and of several ways to say or to spell a number or a word always the same one."""
    said = normalise(text)
    for pattern, replacement in _RULES:
        said = pattern.sub(replacement, said)
    return said
