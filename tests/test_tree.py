"""The tracked tree: it stays light, and tests stand where what they test stands."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MOST_BYTES = 5_000_000
# The two things that are worth their weight: the model, and the clips that it is judged by.
HEAVY = ("model/onebit_model/assets/model.onebit.safetensors", "model/onebit_model/reference_sets/")


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def test_the_tree_without_model_and_reference_sets_stays_under_5_mb() -> None:
    sizes = {
        name: (REPOSITORY / name).lstat().st_size
        for name in tracked_files()
        if not name.startswith(HEAVY) and (REPOSITORY / name).exists()
    }
    largest = sorted(sizes, key=sizes.__getitem__)[-5:]
    assert sum(sizes.values()) < MOST_BYTES, f"the largest files are {', '.join(largest)}"


def test_no_training_state_is_tracked() -> None:
    assert [name for name in tracked_files() if name.endswith((".pt", ".bin", ".tar.gz"))] == []


def rooms(folder: Path) -> Iterator[str]:
    """Folders in it that hold Python or C++, by name."""
    return (path.name for path in folder.iterdir() if path.is_dir() and list(path.glob("*.[pch]*")))


@pytest.mark.parametrize(
    ("tests", "packages"),
    [
        ("model", ["model/onebit_model"]),
        ("service", ["service/onebit_service"]),
        ("kernels", ["kernels/onebit_kernels", "kernels/onebit_kernels/src"]),
    ],
)
def test_tests_mirror_the_packages(tests: str, packages: list[str]) -> None:
    known = {room for package in packages for room in rooms(REPOSITORY / package)}
    folder = REPOSITORY / "tests" / tests
    assert [room for room in rooms(folder) if room not in known] == []
    modules = {path.stem for package in packages for path in (REPOSITORY / package).glob("*.py")} | {"floors"}
    loose = [path.name for path in folder.glob("test_*.py") if path.stem.removeprefix("test_") not in modules]
    assert loose == [], "these belong into a folder that is named after what they test"
