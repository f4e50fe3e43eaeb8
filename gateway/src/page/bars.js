import { drawing, element } from "./element.js";
import { percent } from "./wording.js";

/** The most probable classes, each with its share of certainty as a bar. */
export function bars(top) {
  return element("ol", { class: "bars", "aria-label": "Most probable classes" }, top.map(({ label, score }) =>
    element("li", {},
      element("span", { class: "label", title: label }, label),
      drawing("svg", { class: "bar", "aria-hidden": "true" },
        drawing("rect", { class: "track", width: "100%", height: "100%" }),
        drawing("rect", { class: "fill", width: `${100 * Math.min(Math.max(score, 0), 1)}%`, height: "100%" })),
      element("span", { class: "number" }, percent(score)))));
}
