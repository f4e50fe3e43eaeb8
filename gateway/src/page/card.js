import { announce } from "./announce.js";
import { answerBody, inOneSentence } from "./answer.js";
import { countdown } from "./countdown.js";
import { element } from "./element.js";
import { feedback } from "./feedback.js";
import { history } from "./history.js";
import { preview } from "./preview.js";
import { thumbnail } from "./thumbnail.js";
import { ago, bytes, percent } from "./wording.js";

let made = 0;

/** One image on its way to an answer, and the answer. */
export class Card {
  /** `again` is called with the card when the visitor wants a failed image sent once more. */
  constructor(file, { model, again }) {
    this.file = file;
    this.model = model;
    this.again = again;
    this.name = file.name || "pasted image";
    this.source = URL.createObjectURL(file);
    this.ended = new AbortController();
    this.build(this.source, `${this.name} · ${bytes(file.size)}`);
    this.tell("Waiting for its turn …");
  }

  get signal() { return this.ended.signal; }

  /** An answer from the history, shown once more. */
  static remembered({ name, picture, answer, time }) {
    const card = Object.create(Card.prototype);
    Object.assign(card, { name, ended: new AbortController(), isDone: true });
    card.build(picture, `${name} · ${ago(time)}, from the history`);
    card.show(answer);
    return card;
  }

  build(source, caption) {
    made += 1;
    const { frame, picture } = preview(source, this.name);
    this.picture = picture;
    this.heading = element("h3", { id: `answer-${made}`, tabindex: -1 });
    this.body = element("div", { class: "body" });
    this.element = element("article", { class: "card", "aria-labelledby": `answer-${made}` },
      frame,
      element("div", { class: "text" },
        element("header", {},
          element("p", { class: "caption", title: this.name }, caption),
          element("button", { type: "button", class: "remove", "aria-label": `Remove ${this.name}`, click: () => this.remove() }, "×")),
        this.heading,
        this.body));
  }

  tell(sentence) {
    this.element.classList.add("waiting");
    this.heading.textContent = sentence;
  }

  sending() {
    this.element.classList.remove("failed");
    this.body.replaceChildren();
    this.tell("Sending …");
  }

  sent(ratio) {
    this.tell(ratio < 1 ? `Sending, ${percent(ratio)} …` : "Waiting for the answer …");
  }

  /** Shows when it will be sent again; resolves then, or when the visitor does not want to wait. */
  async comeBackIn(refusal) {
    const now = new AbortController();
    const sentence = element("p", { class: "why" }, refusal.message);
    this.body.replaceChildren(sentence,
      element("button", { type: "button", click: () => now.abort() }, "Try now"));
    announce(`${this.name}: ${refusal.message} It is sent again in ${refusal.retryAfter} seconds.`);
    const either = AbortSignal.any([now.signal, this.signal]);
    await countdown(refusal.retryAfter, either, (left) => this.tell(`Refused for now: again in ${left} s`));
  }

  async answered(answer) {
    this.isDone = true;
    this.show(answer);
    announce(inOneSentence(this.name, answer));
    // A picture that the browser cannot decode has no thumbnail.
    await this.picture.decode().catch(() => {});
    history.add(this.name, thumbnail(this.picture), answer);
  }

  show(answer) {
    this.element.classList.remove("waiting", "failed");
    this.picture.alt = `${this.name}: ${answer.prediction}`;
    this.heading.textContent = answer.prediction;
    this.body.replaceChildren(...answerBody(answer), ...[feedback(answer)].filter(Boolean));
  }

  failed(refusal) {
    this.isDone = true;
    this.element.classList.remove("waiting");
    this.element.classList.add("failed");
    this.heading.textContent = refusal.message;
    this.body.replaceChildren(
      element("p", { class: "why" }, refusal.status ? `${refusal.code}, status ${refusal.status}` : refusal.code),
      element("button", { type: "button", click: () => { this.isDone = false; this.again(this); } }, "Try again"));
    announce(`${this.name}: ${refusal.message}`);
  }

  remove() {
    this.ended.abort();
    if (this.source) URL.revokeObjectURL(this.source);
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    const hadFocus = this.element.contains(document.activeElement);
    this.element.dispatchEvent(new CustomEvent("removed", { bubbles: true, detail: this }));
    this.element.remove();
    // The focus stays near, not at the top of the page.
    if (hadFocus) (next?.querySelector(".remove") ?? document.getElementById("files")).focus();
  }
}
