import { call } from "./call.js";
import { element } from "./element.js";

const LONGEST_LABEL = 200;
let made = 0;

/** "Is this right?": a thumb up is sent at once, a thumb down first asks what it really shows. */
export function feedback(answer) {
  if (!answer.image_file_name) return null;
  const told = element("p", { class: "told", role: "status" });
  const up = thumb("Right", "up", () => send("up"));
  const down = thumb("Wrong", "down", () => { correction.hidden = false; label.focus(); });
  const { form: correction, input: label } = correctionForm(answer, () => send("down", label.value.trim()));
  const thumbs = element("div", { class: "thumbs", role: "group", "aria-label": "Is this right?" },
    element("span", { class: "faint", "aria-hidden": "true" }, "Is this right?"), up, down);

  async function send(verdict, truth) {
    setBusy(true);
    try {
      await call("/feedback/", { method: "POST", body: {
        score: answer.score, predicted_class: answer.prediction, image_file_name: answer.image_file_name,
        feedback: verdict, ...(truth && { true_label: truth }),
      } });
      thumbs.hidden = correction.hidden = true;
      told.textContent = thanks(verdict, truth);
    } catch (refusal) {
      setBusy(false);
      told.textContent = `Not sent: ${refusal.message}${refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : ""}`;
    }
  }
  const setBusy = (busy) => [up, down, ...correction.elements].forEach((part) => { part.disabled = busy; });
  return element("div", { class: "feedback" }, thumbs, correction, told);
}

function thanks(verdict, truth) {
  if (verdict === "up") return "Thank you: marked as right.";
  return truth ? `Thank you: marked as wrong, it is “${truth}”.` : "Thank you: marked as wrong.";
}

function thumb(text, kind, click) {
  return element("button", { type: "button", class: `thumb ${kind}`, click },
    element("span", { "aria-hidden": "true" }, kind === "up" ? "✓" : "✗"), ` ${text}`);
}

function correctionForm(answer, submit) {
  made += 1;
  const [field, others] = [`truth-${made}`, `others-${made}`];
  const input = element("input", { id: field, list: others, maxlength: LONGEST_LABEL, autocomplete: "off" });
  const form = element("form", { class: "correction", hidden: true, submit: (event) => { event.preventDefault(); submit(); } },
    element("label", { for: field }, "What does it show? (if you know)"),
    input,
    element("datalist", { id: others }, answer.top.slice(1).map(({ label }) => element("option", { value: label }))),
    element("button", { class: "primary" }, "Send"));
  return { form, input };
}
