import { forget, keep, kept } from "./kept.js";

const NAME = "shoal.history";
/** Answers that are remembered; the oldest go first. */
const MOST = 50;

/** The last answers, the newest first. They never leave this browser. */
class History extends EventTarget {
  entries = read();

  constructor() {
    super();
    // Another tab has added or cleared.
    addEventListener("storage", ({ key }) => {
      if (key !== NAME && key !== null) return;
      this.entries = read();
      this.dispatchEvent(new Event("change"));
    });
  }

  add(name, picture, answer) {
    this.entries = [{ name, picture, answer, time: Date.now() }, ...read()].slice(0, MOST);
    // Too much for this browser: keep the newer half, and so on.
    while (!keep(NAME, JSON.stringify(this.entries)) && this.entries.length > 1) {
      this.entries.length = Math.ceil(this.entries.length / 2);
    }
    this.dispatchEvent(new Event("change"));
  }

  clear() {
    this.entries = [];
    forget(NAME);
    this.dispatchEvent(new Event("change"));
  }
}

function read() {
  try {
    const entries = JSON.parse(kept(NAME) ?? "[]");
    return Array.isArray(entries) ? entries.filter((entry) => entry && isOne(entry)).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** Another release of this page may have kept something else. */
function isOne({ name, picture, answer, time } ) {
  return typeof name === "string" && typeof picture === "string" && (picture === "" || picture.startsWith("data:image/"))
    && Number.isFinite(time) && typeof answer?.prediction === "string" && Number.isFinite(answer.score)
    && Array.isArray(answer.top) && typeof answer.timing_ms === "object" && answer.timing_ms !== null;
}

export const history = new History();
