"""Scores, comparisons and their reports, on systems whose errors are known."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from onebit_model.data.corpora import AudioSpan, Utterance
from onebit_model.errors import ResultFileError
from onebit_model.evaluation.comparison import Comparison, compare
from onebit_model.evaluation.evaluation import MACRO, POOLED, score, summarise, wer_table
from onebit_model.evaluation.report import (
    comparison_document,
    comparison_markdown,
    comparison_table,
    plot_sizes,
    score_markdown,
    score_tables,
    verdict,
    write_report,
)
from onebit_model.evaluation.results import (
    ScoredUtterance,
    SystemResult,
    common_sets,
    find_system,
    finite,
    read_results,
    write_results,
)

SENTENCE = "one two three four five six seven eight nine ten"
SETS = {"librispeech-other": 10, "ljspeech": 1, "common-voice": 45, "mine": 4}


def rows(seed: int, error_rate: float, speakers: int, count: int = 150) -> list[ScoredUtterance]:
    """Utterances of ten words, each of them wrong with the given probability."""
    random = np.random.default_rng(seed)
    scored = []
    for i in range(count):
        words = ["wrong" if random.random() < error_rate else word for word in SENTENCE.split()]
        scored.append(ScoredUtterance(f"u{i}", f"s{i % speakers}", SENTENCE, " ".join(words)))
    return scored


def system(name: str, error_rate: float, seed: int = 1, model_bytes: int = 124_000_000) -> SystemResult:
    sets = {name: rows(seed + i, error_rate, speakers) for i, (name, speakers) in enumerate(SETS.items())}
    return SystemResult(name, 32, "segment", model_bytes, "", sets)


def worse(baseline: SystemResult, name: str, extra_rate: float) -> SystemResult:
    """The baseline with more errors at other words."""
    random = np.random.default_rng(9)
    sets = {}
    for set_name, scored in baseline.sets.items():
        sets[set_name] = [
            dataclasses.replace(
                row,
                hypothesis=" ".join("bad" if random.random() < extra_rate else w for w in row.hypothesis.split()),
            )
            for row in scored
        ]
    return dataclasses.replace(baseline, name=name, model_bytes=5_000_000, sets=sets)


def test_score_runs_any_system(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1600, 0.5, np.float32), 16_000, subtype="FLOAT")
    utterance = Utterance("a", "set", "s", "hello", 0.1, AudioSpan(tmp_path / "a.wav"))
    calls: list[int] = []
    scored = score([utterance, utterance], lambda samples: f"heard {len(samples)}", calls.append)
    assert scored[0] == ScoredUtterance("a", "s", "hello", "heard 1600")
    assert calls == [1, 2]


def test_summary_rows() -> None:
    summary = {row.set: row for row in summarise(system("a", 0.2))}
    assert list(summary) == [*SETS, POOLED, MACRO]
    for name in SETS:
        row = summary[name]
        assert row.counts is not None
        assert row.rate == row.counts.errors / row.counts.words == pytest.approx(0.2, abs=0.04)
        assert row.interval.low < row.rate < row.interval.high
    assert summary["common-voice"].unit == "speaker"
    assert summary["ljspeech"].unit == summary["mine"].unit == "utterance"
    shipped = [summary[name] for name in SETS if name != "mine"]
    assert summary[MACRO].rate == pytest.approx(sum(row.rate for row in shipped) / 3)
    pooled = summary[POOLED]
    assert pooled.counts is not None
    assert pooled.counts.words == sum(row.counts.words for row in shipped if row.counts)
    widths = [row.interval.high - row.interval.low for row in shipped]
    assert pooled.interval.high - pooled.interval.low < min(widths)


def test_a_set_has_the_same_interval_in_any_company() -> None:
    everything = system("a", 0.2)
    alone = dataclasses.replace(everything, sets={"ljspeech": everything.sets["ljspeech"]})
    assert summarise(alone)[0] == next(row for row in summarise(everything) if row.set == "ljspeech")
    assert wer_table([alone])["a"][POOLED] == pytest.approx(summarise(alone)[0].rate, abs=1e-4)


def test_equal_systems_are_lossless() -> None:
    baseline = system("full", 0.15)
    comparison = compare(baseline, dataclasses.replace(baseline, name="same"))
    assert comparison.lossless
    assert comparison.pooled.relative == 0
    assert all(row.adjusted_p in (None, 1.0) for row in comparison.rows)
    assert "Lossless by definition" in verdict(comparison)


def test_nothing_is_lossless_on_one_set_alone() -> None:
    everything = system("full", 0.15)
    alone = dataclasses.replace(everything, sets={"ljspeech": everything.sets["ljspeech"]})
    comparison = compare(alone, alone)
    assert comparison.non_inferior
    assert not comparison.lossless
    assert "Not scored, so nothing can be called lossless: common-voice, librispeech-other." in verdict(comparison)


def test_systems_that_heard_other_chunks_are_not_compared() -> None:
    baseline = system("full", 0.15)
    with pytest.raises(ResultFileError, match="chunks of segment, live of 8"):
        compare(baseline, dataclasses.replace(baseline, name="live", chunk="8"))


def test_a_worse_system_is_found_out() -> None:
    baseline = system("full", 0.15)
    comparison = compare(baseline, worse(baseline, "1 bit", 0.05))
    assert not comparison.non_inferior
    assert not comparison.lossless
    assert comparison.pooled.interval.low > 0
    assert all(row.significantly_worse for row in comparison.rows if row.test)
    back = compare(worse(baseline, "1 bit", 0.05), baseline)
    assert back.non_inferior
    assert all(row.significantly_better for row in back.rows if row.test)
    assert "not shown to be as good" in verdict(comparison)


def test_a_poor_baseline_earns_no_praise() -> None:
    baseline = system("full", 0.4)
    comparison = compare(baseline, dataclasses.replace(baseline, name="same"))
    assert comparison.non_inferior
    assert not comparison.lossless
    assert "too high for the word lossless" in verdict(comparison)


def test_small_differences_are_not_claimed() -> None:
    """Different errors of the same rate: no test may fire, and the interval holds zero."""
    comparison = compare(system("a", 0.2, seed=100), system("b", 0.2, seed=150))
    assert comparison.pooled.interval.low < 0 < comparison.pooled.interval.high
    assert not any(row.significantly_worse or row.significantly_better for row in comparison.rows)


def test_results_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    systems = [system("4 bit", 0.1), system("1 bit", 0.2)]
    write_results(path, systems, [])
    assert read_results(path) == systems
    assert find_system(f"{path}:1 bit") == systems[1]
    with pytest.raises(ResultFileError, match="holds 2 systems"):
        find_system(str(path))
    with pytest.raises(ResultFileError, match="no system '8 bit'"):
        find_system(f"{path}:8 bit")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "onebit-results", "version": 2}', '{"format": "onebit-results", "version": 1}'],
)
def test_other_files_are_no_results(content: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ResultFileError, match=r"other\.json"):
        read_results(tmp_path / "other.json")


UTTERANCE = {"id": "u", "speaker": "s", "reference": "one", "hypothesis": "one"}
SYSTEM = {"name": "4 bit", "bits": 4, "chunk": "segment", "model_bytes": 9, "sets": {"mine": [UTTERANCE]}}


@pytest.mark.parametrize(
    ("systems", "complaint"),
    [
        (None, "systems must be a list, not null"),
        ([], "systems is empty"),
        ([3], r"systems\[0\] must be a table, not 3"),
        ([SYSTEM, {"name": "a"}], r"systems\[1\]: missing: bits, chunk, model_bytes$"),
        ([SYSTEM | {"bits": "4"}], r'systems\[0\]: bits must be a whole number, not "4"'),
        ([SYSTEM | {"bits": True}], r"systems\[0\]: bits must be a whole number, not true"),
        ([SYSTEM | {"more": 1}], r"systems\[0\]: unknown key 'more'"),
        ([SYSTEM | {"sets": {}}], r"systems\[0\]: sets is empty"),
        ([SYSTEM | {"sets": {"mine": []}}], r"systems\[0\]: sets: mine is empty"),
        ([SYSTEM | {"sets": {"mine": 3}}], r"systems\[0\]: sets: mine must be a list"),
        ([SYSTEM | {"sets": {"mine": [UTTERANCE, {"id": "u"}]}}], r"mine\[1\]: missing: speaker, reference"),
        ([SYSTEM | {"sets": {"mine": [UTTERANCE | {"hypothesis": None}]}}], r"mine\[0\]: hypothesis must be text"),
    ],
)
def test_a_wrong_value_in_results_is_named(systems: object, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"format": "onebit-results", "version": 1, "systems": systems}))
    with pytest.raises(ResultFileError, match=rf"results\.json: .*{complaint}"):
        read_results(path)


def test_results_that_are_no_json_text(tmp_path: Path) -> None:
    for content in (b"[" * 100_000, b"\xff"):
        (tmp_path / "other.json").write_bytes(content)
        with pytest.raises(ResultFileError, match=r"other\.json: not JSON"):
            read_results(tmp_path / "other.json")
    with pytest.raises(ResultFileError, match="an empty name ''"):
        find_system("")


def test_comparison_needs_the_same_sets() -> None:
    baseline = system("a", 0.1)
    with pytest.raises(ResultFileError, match="no common set"):
        compare(baseline, dataclasses.replace(baseline, sets={"else": baseline.sets["mine"]}))
    with pytest.raises(ResultFileError, match="different versions of mine"):
        compare(baseline, dataclasses.replace(baseline, sets={"mine": baseline.sets["mine"][1:]}))


def rendered(*parts: object) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(*parts)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_for_people() -> None:
    systems = [system("full", 0.1), system("1 bit", 0.2, model_bytes=5_000_000)]
    text = rendered(*score_tables(systems))
    assert "124.0 MB" in text
    assert "utterance" in text
    markdown = score_markdown(systems)
    assert markdown.splitlines()[0] == "| set | full, 124.0 MB | 1 bit, 5.0 MB |"
    assert "common-voice by speaker" in markdown
    assert "averaged over librispeech-other, ljspeech, common-voice" in markdown
    comparison = compare(*systems)
    assert "worse" in rendered(comparison_table(comparison))


def test_a_table_shows_what_all_systems_have() -> None:
    full, one_bit = system("full", 0.1), system("1 bit", 0.2)
    del one_bit.sets["ljspeech"]
    assert "ljspeech" not in score_markdown([full, one_bit])
    with pytest.raises(ResultFileError, match="no common set"):
        common_sets([full, dataclasses.replace(full, sets={})])


def comparison_of_nothing_to_something() -> Comparison:
    perfect = system("perfect", 0)
    return compare(perfect, worse(perfect, "other", 0.1))


def test_report_files(tmp_path: Path) -> None:
    baseline = system("full", 0.15)
    others = [worse(baseline, "4 bit", 0.0), worse(baseline, "1 bit", 0.05)]
    comparisons = [compare(baseline, other) for other in others]
    report = write_report(tmp_path / "report", baseline, others, comparisons)
    text = report.read_text()
    assert "wer-size.svg" in text
    assert (tmp_path / "report" / "wer-size.svg").read_text().startswith("<?xml")
    documents = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert [d["lossless"] for d in documents] == [True, False]
    assert all(line.count("|") == 11 for line in text.splitlines() if line.startswith("|"))


def test_machines_get_no_infinities() -> None:
    comparison = comparison_of_nothing_to_something()
    json.dumps(finite(comparison_document([comparison])), allow_nan=False)
    assert "unbounded" in comparison_markdown([comparison])


def test_no_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert plot_sizes(tmp_path / "plot.svg", [system("a", 0.1)]) is None
