#!/usr/bin/env bash
# Kernels and engine under AddressSanitizer and UndefinedBehaviorSanitizer: builds into build/sanitize, runs tests/kernels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=$PWD/${VENV:-.venv}/bin/python
target=$PWD/build/sanitize

rm -rf "$target"
"$python" -m pip --quiet install --no-deps --no-build-isolation --target "$target/site" \
  --config-settings build-dir="$target/build" --config-settings cmake.build-type=RelWithDebInfo \
  --config-settings install.strip=false --config-settings cmake.define.ONEBIT_SANITIZE=ON .

# CPython itself leaks at exit by design, so leaks are not looked for.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$target/site"
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so.6)" \
  "$python" -c '
import sys

# The editable install answers imports before any path does; without its finder the sanitized build is found.
sys.meta_path = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
from onebit_kernels import _core

assert _core.__file__.startswith(sys.argv[1]), _core.__file__
import pytest

sys.exit(pytest.main(sys.argv[2:]))
' "$target" tests/kernels -p no:cacheprovider "$@"
