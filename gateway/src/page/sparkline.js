import { drawing } from "./element.js";

/** A small plot of the last values; a flat line at the bottom while all are 0. */
export class Sparkline {
  constructor(place, length) {
    this.length = length;
    this.values = [];
    this.area = drawing("path", { class: "area" });
    this.line = drawing("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    place.replaceChildren(drawing("svg",
      { class: "sparkline", viewBox: `0 0 ${length - 1} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.area, this.line));
  }

  add(value) {
    this.values = [...this.values, value].slice(-this.length);
    const most = Math.max(1, ...this.values);
    const first = this.length - this.values.length;
    const points = this.values.map((each, index) => `${first + index} ${0.96 - 0.9 * each / most}`);
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${first} 1L${points.join("L")}L${this.length - 1} 1Z`);
  }
}
