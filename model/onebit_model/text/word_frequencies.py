"""How often words stand in general English, for what a vocabulary has to hold (training only)."""

from collections.abc import Iterator

from onebit_model.errors import RecipeError

CAPITALISED = 0.15  # share of a word's occurrences: at the beginning of a sentence, or in a name
LARGEST_NUMBER = 2100  # numbers up to the years are written in figures
NUMBERS = 0.01  # share of all words


def written_words() -> Iterator[tuple[str, float]]:
    """ASCII words of wordfreq's large list as they stand in a text, `" word"` and `" Word"`, and numbers in figures.

    Each with its share. Frequencies: wordfreq (Speer 2022), from eight kinds of text, films to encyclopaedias.
    Raises RecipeError where it is not installed.
    """
    try:
        import wordfreq
    except ImportError as error:
        raise RecipeError('data.common_words needs wordfreq: pip install "onebit[whisper]"') from error
    for word, share in wordfreq.get_frequency_dict("en", wordlist="large").items():
        if word.isascii() and not any(letter.isdigit() for letter in word):
            yield f" {word}", share * (1 - CAPITALISED)
            yield f" {word.capitalize()}", share * CAPITALISED
    for number in range(LARGEST_NUMBER):
        yield f" {number}", NUMBERS / LARGEST_NUMBER
