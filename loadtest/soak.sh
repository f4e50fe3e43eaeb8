#!/usr/bin/env bash
# A fleet under steady load for long: memory and descriptors of every process, and their slope.
#   MINUTES=20 USERS=230 THINK=1-5 MODEL=resnet50-synth-int8 loadtest/soak.sh [IMAGE]
# Users pause THINK seconds between requests; every body is different. The default model is ResNet-50
# int8 with made-up weights; with MODEL=digits the caches are full within a minute.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

minutes=${MINUTES:-20} users=${USERS:-230} think=${THINK:-1-5} model=${MODEL:-resnet50-synth-int8} image=${1:-worker/models/digits/samples/digit-3.jpg}
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT

deploy/release.sh --quiet
"$bin/shoal" models synth resnet50 --int8 --models-dir "$work/data/models" >/dev/null
"$bin/shoal" up --model "$model" --port 8901 --nats-port 0 --data-dir "$work/data" >"$work/up.log" 2>&1 &
until grep -q Ctrl-C "$work/up.log"; do sleep 0.1; done

"$bin/shoal-loadtest" --url "http://127.0.0.1:8901/predict" --connections "$users" --think "$think" --unique \
    --seconds $((minutes * 60)) --image "$image" --obey --json >"$work/load.json" &
load=$!
while kill -0 $load 2>/dev/null; do
    for process in $(pgrep -f "$work/data" || true) $(pgrep -x shoal-gateway || true); do
        name=$(cat "/proc/$process/comm" 2>/dev/null) || continue
        rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$process/status" 2>/dev/null) || continue
        fds=$(ls "/proc/$process/fd" 2>/dev/null | wc -l)
        echo "$(date +%s) $name $process ${rss:-0} $fds"
    done >>"$work/samples"
    sleep 5
done
python3 - "$work/samples" "$work/load.json" <<'PY'
import collections, json, sys
series = collections.defaultdict(list)
for line in open(sys.argv[1]):
    at, name, process, rss, fds = line.split()
    series[name, process].append((int(at), int(rss), int(fds)))
print(f"{'process':<16}{'MiB first':>10}{'last':>8}{'most':>8}{'MiB/hour':>10}{'descriptors':>16}")
for (name, _), points in sorted(series.items()):
    # The first third is for caches and pools to fill.
    settled = points[len(points) // 3:]
    if len(settled) < 5:
        continue
    mean_t = sum(p[0] for p in settled) / len(settled)
    mean_m = sum(p[1] for p in settled) / len(settled)
    spread = sum((p[0] - mean_t) ** 2 for p in settled) or 1
    slope = sum((p[0] - mean_t) * (p[1] - mean_m) for p in settled) / spread * 3600 / 1024
    first, last, most = points[0][1] / 1024, points[-1][1] / 1024, max(p[1] for p in points) / 1024
    fds = [p[2] for p in settled]
    print(f"{name:<16}{first:>10.1f}{last:>8.1f}{most:>8.1f}{slope:>10.1f}{f'{min(fds)} to {max(fds)}':>16}")
load = json.load(open(sys.argv[2]))
print(f"{load['requests_per_second']:.1f} answers/s, p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms, outcomes {load['outcomes']}")
PY
