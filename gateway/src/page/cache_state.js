import { element } from "./element.js";

const STATES = {
  miss: ["computed", (batch) => `A worker ran the model${batch > 1 ? `, for ${batch} images at once` : ""}.`],
  hit: ["from memory", () => "This gateway remembered the image: no worker was asked."],
  shared: ["from the shared cache", () => "Another gateway, or an earlier one, had the answer: no worker was asked."],
  coalesced: ["asked together", () => "Somebody asked for the same image at the same time: one job served both."],
};

/** Where an answer came from: a word on a chip, and the sentence that explains it. */
export function cacheState({ cache, batch }) {
  const [word, explain] = STATES[cache] ?? [cache ?? "unknown", () => "This page does not know what that means."];
  return element("p", { class: "origin" }, element("span", { class: `chip ${cache}` }, word), " ", explain(batch ?? 1));
}
