import { notify } from "./announce.js";
import { MOST_WAITING, ask, room } from "./asking.js";
import { Card } from "./card.js";
import { byId } from "./element.js";
import { chosenModel } from "./models.js";
import { several } from "./wording.js";

/** Cards on the page; beyond it the oldest that are done make room. */
const MOST_CARDS = 250;
const cards = new Set();

/** Asks for all of these; the first is shown on top. */
export function askAll(files) {
  const taken = [...files].slice(0, room());
  if (taken.length < files.length) {
    notify(`${several(files.length - taken.length, "image was", "images were")} left out: at most ${MOST_WAITING} may wait here.`);
  }
  const added = taken.map((file) => new Card(file, { model: chosenModel(), again: ask }));
  show(added);
  added.forEach(ask);
}

/** Shows an answer from the history. */
export function showAgain(entry) {
  const card = Card.remembered(entry);
  show([card]);
  card.heading.focus();
  card.element.scrollIntoView({ block: "nearest" });
}

function show(added) {
  const list = byId("answers");
  list.prepend(...added.map((card) => card.element));
  added.forEach((card) => {
    cards.add(card);
    card.element.addEventListener("removed", () => { cards.delete(card); settle(); });
  });
  for (const card of cards) {
    if (cards.size <= MOST_CARDS) break;
    if (card.isDone) card.remove();
  }
  settle();
}

function settle() {
  byId("empty").hidden = cards.size > 0;
}
