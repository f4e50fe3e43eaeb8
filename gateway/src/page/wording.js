/** Numbers as people read them. */

export function percent(ratio) {
  const value = 100 * ratio;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(value > 99.9 && value < 100 ? 2 : 1)} %`;
}

export function milliseconds(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (value > 0 && value < 0.1) return `${Math.max(1, Math.round(value * 1000))} µs`;
  if (value >= 100) return `${value.toFixed(0)} ms`;
  return `${value.toFixed(value >= 10 ? 1 : 2)} ms`;
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1_000_000) return `${(count / 1000).toFixed(count < 10_000 ? 1 : 0)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

export function several(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

export function rate(perSecond) {
  if (perSecond >= 100) return perSecond.toFixed(0);
  return perSecond >= 10 || perSecond === 0 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}

/** How long ago, coarse enough not to need a clock that ticks. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - time) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString();
}
