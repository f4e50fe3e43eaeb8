import { announce } from "./announce.js";
import { confidence } from "./confidence.js";
import { byId, element } from "./element.js";
import { history } from "./history.js";
import { ago, percent } from "./wording.js";

/** Past answers as a row of small pictures; a click hands one to `show`. */
export function showHistory(show) {
  const list = byId("history-list");
  const draw = () => {
    byId("history").hidden = history.entries.length === 0;
    list.replaceChildren(...history.entries.map((entry) => element("li", {}, tile(entry, show))));
  };
  byId("history-clear").addEventListener("click", () => {
    history.clear();
    announce("The history is empty.");
    byId("files").focus();
  });
  history.addEventListener("change", draw);
  draw();
}

function tile(entry, show) {
  const { answer, name, picture, time } = entry;
  const { words } = confidence(answer.score);
  const shown = picture
    ? element("img", { src: picture, alt: "", width: 56, height: 56 })
    : element("span", { class: "no-picture", "aria-hidden": "true" }, "?");
  return element("button", { type: "button", title: `${name}, ${words}`, click: () => show(entry) },
    shown,
    element("span", { class: "what" },
      element("strong", {}, answer.prediction),
      element("span", { class: "faint" }, `${percent(answer.score)} · ${ago(time)}`)));
}
