import { notify } from "./announce.js";
import { byId, element } from "./element.js";

/** Pictures to try, where the served model has some. */
export async function offerSamples(askAll) {
  const response = await fetch("/samples").catch(() => null);
  if (!response?.ok) return;
  const { samples } = await response.json();
  const sample = (name) => element("li", {},
    element("button", { type: "button", title: name, click: () => take(name, askAll) },
      element("img", { src: `/samples/${name}`, alt: `Try ${name.replace(/\.\w+$/, "").replaceAll("-", " ")}`, width: 44, height: 44 })));
  byId("sample-list").replaceChildren(...samples.map(sample));
  byId("samples").hidden = samples.length === 0;
}

async function take(name, askAll) {
  const response = await fetch(`/samples/${name}`).catch(() => null);
  if (!response?.ok) return notify(`The sample ${name} could not be fetched.`);
  const picture = await response.blob();
  return askAll([new File([picture], name, { type: picture.type })]);
}
