#!/usr/bin/env bash
# Repeated images against their limit: 64 connections post one 58 KB upload to the gateway and, in
# turn, to a bare warp handler that reads and hashes the same body. Prints both and the ratio.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4}
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT

deploy/release.sh --quiet --examples

# A sample, padded with a comment segment to the size of the reference upload.
python3 - "$work/58k.jpg" <<'PY'
import sys
jpeg = open("worker/models/digits/samples/digit-3.jpg", "rb").read()
padding = 58_000 - len(jpeg) - 4
segment = b"\xff\xfe" + (padding + 2).to_bytes(2, "big") + b"x" * padding
open(sys.argv[1], "wb").write(jpeg[:2] + segment + jpeg[2:])
PY

"$bin/shoal" up --model digits --port 8900 --nats-port 0 --data-dir "$work/data" >"$work/up.log" &
"$bin/examples/bare" 8999 &
until grep -q Ctrl-C "$work/up.log"; do sleep 0.05; done

measure() { "$bin/shoal-loadtest" --url "http://127.0.0.1:$1/predict" --connections 64 --seconds "$seconds" --image "$work/58k.jpg" --json; }
measure 8900 >/dev/null
for ((round = 1; round <= rounds; round++)); do
    measure 8999 >>"$work/bare"
    measure 8900 >>"$work/shoal"
done
python3 - "$work/bare" "$work/shoal" <<'PY'
import json, statistics, sys
bare, shoal = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
rate = lambda runs: [run["requests_per_second"] for run in runs]
ratios = [s / b for s, b in zip(rate(shoal), rate(bare))]
print(f"bare warp handler  {statistics.median(rate(bare)):8.0f} requests/s")
print(f"gateway, repeated  {statistics.median(rate(shoal)):8.0f} requests/s, "
      f"p99 {statistics.median(run['p99_ms'] for run in shoal):.2f} ms, outcomes {shoal[-1]['outcomes']}")
print(f"ratio              {statistics.median(ratios):8.2f} (from {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)")
PY
