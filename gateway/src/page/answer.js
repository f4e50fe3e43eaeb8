import { bars } from "./bars.js";
import { cacheState } from "./cache_state.js";
import { confidence } from "./confidence.js";
import { element } from "./element.js";
import { percent } from "./wording.js";
import { waterfall } from "./waterfall.js";

/** Everything about an answer but the headline. */
export function answerBody(answer) {
  const { words, name } = confidence(answer.score);
  return [
    element("p", { class: `sure ${name}` }, element("strong", {}, words), ` · ${percent(answer.score)}`),
    bars(answer.top),
    cacheState(answer),
    waterfall(answer.timing_ms),
    facts(answer),
  ];
}

/** The answer in one sentence, for a screen reader. */
export function inOneSentence(name, answer) {
  return `${name}: ${answer.prediction}, ${confidence(answer.score).words}, ${percent(answer.score)}.`;
}

function facts(answer) {
  const rows = [
    ["Model", answer.model], ["Worker", answer.worker], ["Images in the batch", answer.batch], ["Job", answer.job],
    ["File name by MD5", answer.image_file_name], ["SHA-256", answer.image_sha256], ["Model's digest", answer.model_digest],
  ];
  const known = rows.filter(([, value]) => value !== undefined && value !== null);
  return element("details", { class: "facts" },
    element("summary", {}, "Particulars"),
    element("dl", {}, known.map(([term, value]) => [element("dt", {}, term), element("dd", {}, String(value))])));
}
