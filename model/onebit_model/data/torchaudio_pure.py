"""torchaudio's pure-Python part beside a CPU build of torch.

The published wheel links CUDA libraries, which a CPU build of torch does not bring. Nothing here needs
them: its transforms and functionals work without.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

EXTENSION = "torchaudio._extension"

T = TypeVar("T")


class WithoutLibraries(ModuleType):
    """Stands in the place of the module that loads the libraries, and says that there are none."""

    _IS_TORCHAUDIO_EXT_AVAILABLE = False
    _IS_ALIGN_AVAILABLE = False

    @staticmethod
    def fail_if_no_align(function: Callable[..., T]) -> Callable[..., T]:
        """Marks what needs the libraries; without them it fails by itself when it is called."""
        return function


def load_torchaudio() -> ModuleType:
    """Import torchaudio, passing its shared libraries by; raises ImportError when it is not installed."""
    if importlib.util.find_spec("torchaudio") is None:
        raise ImportError("torchaudio is not installed: pip install --no-deps torchaudio==2.11.0")
    if "torchaudio" not in sys.modules:
        sys.modules.setdefault(EXTENSION, WithoutLibraries(EXTENSION))
    return importlib.import_module("torchaudio")
