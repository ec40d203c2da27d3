"""Errors of the model package.

OnebitError
├── ModelFileError          the packed file cannot be used
│   ├── ForeignFileError        not written by onebit, or not safetensors at all
│   ├── OtherVocabularyError    a language model that was made for another model
│   ├── NewerFileError          a format version this program does not know
│   └── DamagedFileError        truncated, or its bytes are not those that were written
├── UnsupportedBitsError    a precision that the loaded file does not hold
├── SearchOptionError       a beam or hotwords that cannot be used; says which
├── AudioError              audio that cannot be transcribed
│   ├── MissingAudioError       nothing was sent
│   ├── UnsupportedMediaError   not audio, or in a form that nothing here can read
│   ├── InvalidAudioError       samples that are not numbers
│   └── AudioTooLargeError      more bytes or seconds than the limit
├── UnknownSetError         a reference set that does not exist or cannot be scored
├── CorpusError             a corpus, a manifest or a clip that cannot be read; says which line or utterance
├── ResultFileError         a file of evaluation results that cannot be used
├── TextFileError           a file of texts that cannot be read
├── OutputPathError         a place where no result can be written
└── RecipeError             a training recipe that cannot be followed
"""

from __future__ import annotations


class OnebitError(Exception):
    """Anything that is the input's fault; the message is fit for a person."""


class ModelFileError(OnebitError):
    pass


class ForeignFileError(ModelFileError):
    pass


class OtherVocabularyError(ModelFileError):
    pass


class NewerFileError(ModelFileError):
    pass


class DamagedFileError(ModelFileError):
    pass


class UnsupportedBitsError(OnebitError):
    def __init__(self, bits: object, available: tuple[int, ...]) -> None:
        held = ", ".join(str(b) for b in available)
        super().__init__(f"precision {bits} bit is not in the loaded model; it holds: {held}")
        self.bits = bits
        self.available = available


class SearchOptionError(OnebitError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class AudioError(OnebitError):
    pass


class MissingAudioError(AudioError):
    pass


class UnsupportedMediaError(AudioError):
    pass


class InvalidAudioError(AudioError):
    pass


class AudioTooLargeError(AudioError):
    pass


class UnknownSetError(OnebitError):
    pass


class CorpusError(OnebitError):
    pass


class ResultFileError(OnebitError):
    pass


class TextFileError(OnebitError):
    pass


class OutputPathError(OnebitError):
    pass


class RecipeError(OnebitError):
    pass
