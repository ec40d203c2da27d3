"""What OpenAI's `prompt` prefers."""

from __future__ import annotations

import pytest

from onebit_model.text.pieces import SINGLE_BYTES, SPECIALS, Pieces
from onebit_model.text.search import SearchTools
from onebit_service.routes.prompt import phrases_of

VOCABULARY = ("\u2581", *"abcdefghijklmnopqrstuvwxyz'")


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("", []),
        ("Glossary: Kubernetes, kubectl", ["glossary", "kubernetes", "kubectl"]),
        ("Mr. O\u2019Brien; Ren\u00e9e\nNew York (city)", ["mister", "o'brien", "renee", "new york", "city"]),
        ("lamp, Lamp,LAMP.", ["lamp"]),
        ("room 5, \u5317\u4eac, lamp", ["room five", "lamp"]),
        ("The transcript is about a company that makes lamps, lamp", ["lamp"]),
        ("node.js", ["node js"]),
        ("x" * 61 + ", lamp", ["lamp"]),
    ],
)
def test_phrases_of_prompts(prompt: str, phrases: list[str]) -> None:
    assert phrases_of(prompt, SearchTools(VOCABULARY)) == phrases


def test_written_text_takes_them_as_they_are_written() -> None:
    tools = SearchTools(VOCABULARY, pieces=Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES)))
    prompt = "Glossary: O\u2019Brien, Room  5; \u5317\u4eac, --, O\u2019Brien"
    assert phrases_of(prompt, tools) == ["Glossary", "O\u2019Brien", "Room 5", "\u5317\u4eac"]


def test_as_many_as_can_be_used() -> None:
    names = [a + b for a in "abcdefghijk" for b in "abcdefghijklmno"]
    assert phrases_of(", ".join(names), SearchTools(VOCABULARY)) == names[:100]
