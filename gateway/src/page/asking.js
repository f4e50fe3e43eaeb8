import { session } from "./session.js";
import { upload } from "./upload.js";

/** Images on their way at once; the rest wait here, so that one visitor does not fill the queue. */
const AT_ONCE = 4;
/** How often an image is sent before the visitor has to decide. */
const ATTEMPTS = 5;
/** Images that may wait here. */
export const MOST_WAITING = 200;

const waiting = [];
let under_way = 0;

/** How many more images may be added. */
export const room = () => MOST_WAITING - waiting.length;

/** Asks for an image as soon as there is a free place; the card hears how it goes. */
export function ask(card) {
  waiting.push(card);
  next();
}

function next() {
  while (under_way < AT_ONCE && waiting.length > 0) {
    const card = waiting.shift();
    if (card.signal.aborted) continue;
    under_way += 1;
    untilAnswered(card).finally(() => {
      under_way -= 1;
      next();
    });
  }
}

async function untilAnswered(card) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      card.sending();
      const options = { model: card.model, signal: card.signal, progress: (ratio) => card.sent(ratio) };
      return card.answered(await upload(card.file, options));
    } catch (refusal) {
      if (card.signal.aborted) return undefined;
      if (!await mayTryAgain(card, refusal, attempt)) return card.failed(refusal);
    }
  }
}

/** A refusal with a time to come back is a promise, so it is kept; the place stays taken meanwhile. */
async function mayTryAgain(card, refusal, attempt) {
  if (attempt >= ATTEMPTS) return false;
  if (refusal.status === 401) return session.wanted(refusal.headers);
  if (refusal.retryAfter === null || ![429, 503].includes(refusal.status)) return false;
  await card.comeBackIn(refusal);
  return !card.signal.aborted;
}
