"""What a clone costs: the tracked tree stays light."""

import subprocess
from pathlib import Path

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
