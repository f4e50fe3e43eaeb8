#!/bin/sh
# Builds the release binaries. Each is optimised as one program (Cargo.toml), which takes 2.5 GB for every one that is
# linked at the same time, up to four. Where that is not free they are built without: a tenth slower, and there.
set -eu

if [ -z "${CARGO_PROFILE_RELEASE_LTO:-}" ] && [ -r /proc/meminfo ]; then
  links=$(nproc)
  [ "$links" -lt 4 ] || links=4
  wanted=$((links * 2560))
  free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' "${MEMINFO:-/proc/meminfo}")
  if [ "$free" -lt "$wanted" ]; then
    echo "release: $free MB of memory are free and link-time optimisation wants $wanted: built without (CARGO_PROFILE_RELEASE_LTO=fat insists)"
    export CARGO_PROFILE_RELEASE_LTO=off
  fi
fi
exec cargo build --release --workspace --bins "$@"
