"""torchaudio's pure-Python part beside a CPU build of torch.

The published wheel links CUDA libraries, which a CPU build of torch does not bring. Nothing here needs
them: without the shared libraries torchaudio imports and its transforms and functionals work.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock


def load_torchaudio() -> ModuleType:
    """Import torchaudio, passing its shared libraries by; raises ImportError when it is not installed."""
    if "torchaudio" in sys.modules:
        return sys.modules["torchaudio"]
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        raise ImportError("torchaudio is not installed: pip install --no-deps torchaudio==2.11.0")
    library = Path(spec.origin).parent / "lib"
    glob = Path.glob

    def without_libraries(path: Path, pattern: str) -> Iterator[Path]:
        return iter(()) if path == library else glob(path, pattern)

    with mock.patch.object(Path, "glob", without_libraries):
        import torchaudio
    return torchaudio
