#!/bin/sh
# Builds the release binaries. Each is optimised as one program (Cargo.toml), which takes 2.5 GB for every one that is
# linked at the same time, up to four. A machine without that memory builds them without: for a tenth more of the gateway's
# CPU time. By all of its memory and not by what is free: a build of the other kind begins from nothing.
set -eu

if [ -z "${CARGO_PROFILE_RELEASE_LTO:-}" ] && [ -r /proc/meminfo ]; then
  links=$(nproc)
  [ "$links" -lt 4 ] || links=4
  wanted=$((links * 2560 + 512))
  has=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  if [ "$has" -lt "$wanted" ]; then
    echo "release: link-time optimisation wants $wanted MB of memory, here are $has: built without (CARGO_PROFILE_RELEASE_LTO=fat insists)"
    export CARGO_PROFILE_RELEASE_LTO=off
  fi
fi
exec cargo build --release --workspace --bins "$@"
