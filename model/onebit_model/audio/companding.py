"""Telephone samples (ITU-T G.711): 8 bits for 13 or 14, finer where it is quiet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float32]


def _mulaw_values() -> Table:
    """(256,) float32 in [-1, 1): G.711 table 2; all bits are inverted."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_values() -> Table:
    """(256,) float32 in [-1, 1): G.711 table 1; every other bit is inverted."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = np.where(exponent, mantissa + 0x108 << np.maximum(exponent - 1, 0), mantissa + 8)
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


VALUES = {"mulaw": _mulaw_values(), "alaw": _alaw_values()}
