import { byId, element } from "./element.js";

let names = "";

/** Offers a choice where the fleet serves several models, and says which it is where it serves one. */
export function showModels(models) {
  const known = models.toSorted((a, b) => a.name.localeCompare(b.name));
  const now = JSON.stringify(known.map(({ name, title }) => [name, title]));
  if (now === names) return;
  names = now;
  const select = byId("model");
  const before = select.value;
  select.replaceChildren(
    element("option", { value: "" }, "the usual one"),
    ...known.map(({ name, title }) => element("option", { value: name }, title || name)));
  select.value = known.some(({ name }) => name === before) ? before : "";
  byId("model-choice").hidden = known.length < 2;
  byId("model-name").textContent = known.length === 1 ? `Model: ${known[0].title || known[0].name}` : "";
}

/** The model that was chosen; none means the gateway's own choice. */
export const chosenModel = () => byId("model").value || undefined;
