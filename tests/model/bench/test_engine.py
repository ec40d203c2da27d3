"""The benchmark of the engine runs and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from onebit_kernels import Model
from onebit_model.bench import encoders, engine, engine_tables
from onebit_model.config import ModelConfig
from onebit_model.files.packed import ModelDescription, PackedModel, read_packed, write_packed

SMALL = ModelConfig(
    d_model=64, heads=2, blocks=2, feed_forward1=64, feed_forward2=64, average_after=1, vocabulary_size=6
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, random_tensors) -> PackedModel:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("bench") / "model.safetensors"
    tensors = random_tensors(config=SMALL)
    for name, tensor in tensors.items():
        if ".scale" in name:
            tensors[name] = np.full_like(tensor, 0.02 if "scale8" not in name else 0.001)
    write_packed(path, ModelDescription(SMALL, tuple("abcdef"), (1, 2, 4)), tensors)
    return read_packed(path)


def test_report_without_peers(packed: PackedModel, tmp_path: Path) -> None:
    report = engine.run(engine.Plan(packed.path, seconds=(1,), turns=1, peers=False))
    assert len(report.runs) == 6
    assert all(run.real_time_factor > 0 for run in report.runs)
    assert {batch.streams for batch in report.batches} == set(engine.BATCHES)
    assert sum(report.stages[0].seconds.values()) > 0
    assert json.loads(engine.to_json(report))["isa"] == report.isa
    if report.memory:
        assert report.memory.peak_bytes > report.memory.interpreter_bytes > 0
    console = Console(record=True, width=160)
    engine_tables.show(report, console)
    text = console.export_text()
    assert "1 s of speech" in text
    assert "gain at 32" in text
    engine_tables.plot(report, tmp_path / "times.svg")
    assert ">onebit 1 bit</text>" in (tmp_path / "times.svg").read_text()


def test_peers_compute_the_same_network(packed: PackedModel) -> None:
    """Rounded activations on our side and none on theirs: close, not equal."""
    samples = engine.speech(2)
    ours = encoders.our_encoder(Model(packed.config.to_dict(), packed.tensors, packed.bits), 4, 0).run(samples)
    missing: list[str] = []
    for peer in engine.peers(packed, missing):
        theirs = peer.run(samples)
        assert theirs.shape == ours.shape
        relative = np.sqrt(((ours - theirs) ** 2).mean() / (ours**2).mean())
        assert relative < 0.1, peer.name
