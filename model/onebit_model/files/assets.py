"""Where the shipped models lie, so that wheel and image find it the same way."""

from __future__ import annotations

from pathlib import Path

from onebit_model.errors import ModelFileError

MODEL_NAME = "model.onebit.safetensors"
SHIPPED_MODEL = Path(__file__).parents[1] / "assets" / MODEL_NAME
SHIPPED_LANGUAGE_MODEL = SHIPPED_MODEL.with_name("english.language_model.safetensors")


def model_path(chosen: str | Path | None = None) -> Path:
    """The chosen model file, or the shipped one."""
    path = Path(chosen) if chosen else SHIPPED_MODEL
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no model file here")
    return path
