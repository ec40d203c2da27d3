#!/usr/bin/env bash
# What the system tests need beyond PyPI: "command package" per line, installed from Debian's archive where missing.
set -euo pipefail

needed="
git git
qemu-aarch64-static qemu-user-static
aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
promtool prometheus
mmdebstrap mmdebstrap
buildah buildah
chromium chromium
ffmpeg ffmpeg
"

missing=()
while read -r command package; do
  [ -z "$command" ] || command -v "$command" >/dev/null || missing+=("$package")
done <<<"$needed"
[ ${#missing[@]} -gt 0 ] || exit 0

echo "installing for the system tests: ${missing[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "these Debian packages are missing; install them and run again: apt-get install ${missing[*]}"
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || { echo "apt-get update failed: is Debian's archive reachable?"; exit 1; }
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
  { echo "could not install: ${missing[*]}"; exit 1; }
