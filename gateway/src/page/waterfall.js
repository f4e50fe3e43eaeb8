import { drawing, element } from "./element.js";
import { milliseconds } from "./wording.js";

/** Stages in the order in which they happen, and what they are. Colours are in `cards.css`, as on the dashboards. */
const STAGES = {
  receive: "reading the upload",
  hash: "hashing it",
  cache: "looking into the cache",
  join: "waiting for the same image's job",
  publish: "handing the job to the broker",
  queue: "waiting in the queue",
  fetch: "waiting for a decode thread",
  decode: "decoding and resizing",
  batch_wait: "waiting for the model",
  infer: "running the model",
  store: "storing the prediction",
  reply: "the answer's way back",
};

/** Where the time went: one bar to scale, a legend, and the same as a table. */
export function waterfall(timing) {
  const taken = Object.entries(timing).filter(([stage, took]) => stage !== "total" && took > 0);
  taken.sort(([a], [b]) => Object.keys(STAGES).indexOf(a) - Object.keys(STAGES).indexOf(b));
  const total = timing.total || taken.reduce((sum, [, took]) => sum + took, 0) || 1;
  const most = taken.toSorted(([, a], [, b]) => b - a).slice(0, 3).map(([stage]) => stage);
  return element("div", { class: "waterfall" },
    element("p", { class: "total" }, element("strong", {}, milliseconds(total)), " in the gateway and the fleet"),
    bar(taken, total),
    element("ul", { class: "legend", "aria-hidden": "true" }, taken.filter(([stage]) => most.includes(stage)).map(entry)),
    element("details", {},
      element("summary", {}, "Every stage"),
      table(taken, total)));
}

function bar(taken, total) {
  let at = 0;
  const parts = taken.map(([stage, took]) => {
    const part = drawing("rect", { x: at, y: 0, width: took, height: 1, class: `stage-${stage}` },
      drawing("title", {}, `${name(stage)}: ${milliseconds(took)}`));
    at += took;
    return part;
  });
  const width = Math.max(total, at);
  return drawing("svg", { class: "stages", viewBox: `0 0 ${width} 1`, preserveAspectRatio: "none", "aria-hidden": "true" }, parts);
}

const name = (stage) => stage.replaceAll("_", " ");

function key(stage) {
  return drawing("svg", { class: "key", viewBox: "0 0 1 1", "aria-hidden": "true" },
    drawing("rect", { width: 1, height: 1, class: `stage-${stage}` }));
}

const entry = ([stage, took]) => element("li", {}, key(stage), `${name(stage)} ${milliseconds(took)}`);

function table(taken, total) {
  const row = ([stage, took]) => element("tr", {},
    element("th", { scope: "row" }, key(stage), name(stage)),
    element("td", {}, STAGES[stage] ?? ""),
    element("td", { class: "number" }, milliseconds(took)),
    element("td", { class: "number" }, `${Math.round(100 * took / total)} %`));
  return element("table", { class: "timing" },
    element("caption", { class: "unseen" }, "Time in each stage"),
    element("thead", {}, element("tr", {},
      ...["Stage", "What happens", "Took", "Share"].map((title) => element("th", { scope: "col" }, title)))),
    element("tbody", {}, taken.map(row)));
}
