#!/usr/bin/env bash
# Builds the tests of products and engine for AArch64 and runs them under an emulator, as a processor without and one with dot products.
# Debian and Ubuntu: apt install g++-aarch64-linux-gnu qemu-user-static
set -euo pipefail
cd "$(dirname "$0")/../.."

compiler=${AARCH64_CXX:-aarch64-linux-gnu-g++}
emulator=${QEMU_AARCH64:-qemu-aarch64-static}
for tool in "$compiler" "$emulator"; do
  command -v "$tool" >/dev/null || { echo "$tool is needed: apt install g++-aarch64-linux-gnu qemu-user-static" >&2; exit 1; }
done

build=${BUILD:-build/neon-tests}
sources=kernels/onebit_kernels/src
mkdir -p "$build"
common=(-std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Werror -I "$sources")
"$compiler" "${common[@]}" -march=armv8.2-a+dotprod -c "$sources/gemm/isa/neon_dotprod.cpp" -o "$build/neon_dotprod.o"
"$compiler" "${common[@]}" -static -o "$build/gemm_test" tests/kernels/gemm/gemm_test.cpp "$build/neon_dotprod.o" \
  "$sources"/gemm/{cpu_features,multiply,packing,registry}.cpp "$sources"/gemm/isa/{generic,neon}.cpp

"$compiler" "${common[@]}" -static -o "$build/engine_test" tests/kernels/engine/engine_test.cpp "$build/neon_dotprod.o" \
  "$sources"/gemm/{cpu_features,multiply,packing,registry}.cpp "$sources"/{engine,search,model,operations}/*.cpp \
  "$sources"/{gemm,operations}/isa/{generic,neon}.cpp

run() {
  echo "== $1"
  "$emulator" -cpu "$1" "$build/gemm_test" "${@:2}"
  "$emulator" -cpu "$1" "$build/engine_test" "${@:2}"
}
run cortex-a72 neon
run cortex-a76 neon neon_dotprod
