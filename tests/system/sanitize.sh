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
  "$python" -m pytest tests/kernels -p no:cacheprovider "$@"
