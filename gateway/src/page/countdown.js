/** Waits so many seconds, telling `tick` how many are left; ends early when `signal` is aborted. */
export function countdown(seconds, signal, tick) {
  return new Promise((resolve) => {
    // By the clock: timers of a hidden page are late.
    const end = Date.now() + 1000 * seconds;
    let timer;
    const step = () => {
      const left = Math.ceil((end - Date.now()) / 1000);
      if (left <= 0 || signal.aborted) return resolve();
      tick(left);
      timer = setTimeout(step, Math.min(1000, end - Date.now()));
      return undefined;
    };
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    step();
  });
}
