"""The kernels on 64-bit ARM, cross-compiled and run under an emulator."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_neon_kernel_equals_the_reference(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "tests/system/neon.sh"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "BUILD": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "neon_dotprod: ok" in done.stdout
