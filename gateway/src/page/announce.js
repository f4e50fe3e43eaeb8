import { byId } from "./element.js";

/** Has a screen reader say a sentence when it is free. The same one twice is said twice. */
export function announce(sentence) {
  const region = byId("announcements");
  region.append(Object.assign(document.createElement("p"), { textContent: sentence }));
  while (region.childElementCount > 3) region.firstElementChild.remove();
}

let fading;

/** The same for everybody: a line at the foot of the window, for what belongs to no card. */
export function notify(sentence) {
  announce(sentence);
  const line = byId("notice");
  line.textContent = sentence;
  line.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { line.hidden = true; }, 6000);
}
