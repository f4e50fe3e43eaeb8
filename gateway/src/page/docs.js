import { byId, element } from "./element.js";
import { operation } from "./docs_operation.js";
import { prose } from "./docs_schema.js";
import { offerTheme } from "./theme_button.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** Draws the operations of an OpenAPI 3.1 document, grouped by their first tag. */
function draw(document) {
  byId("version").textContent = `${document.info.title} ${document.info.version} · OpenAPI ${document.openapi}`;
  byId("description").append(...prose(document.info.description));
  const groups = new Map((document.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const tag = item[method].tags?.[0] ?? "Other";
      if (!groups.has(tag)) groups.set(tag, { name: tag, operations: [] });
      const parameters = [...(item.parameters ?? []), ...(item[method].parameters ?? [])];
      groups.get(tag).operations.push({ ...item[method], method, path, parameters });
    }
  }
  for (const group of [...groups.values()].filter(({ operations }) => operations.length > 0)) {
    byId("operations").append(element("section", {},
      element("h2", {}, group.name),
      group.description ? element("p", { class: "faint" }, group.description) : null,
      group.operations.map((one) => operation(one, document))));
    byId("contents-list").append(element("h3", {}, group.name), element("ul", {}, group.operations.map(entry)));
  }
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
}

function entry({ operationId, method, path, summary }) {
  return element("li", { "data-text": `${method} ${path} ${summary ?? ""}`.toLowerCase() },
    element("a", { href: `#${operationId}`, title: summary ?? "" }, element("span", { class: `verb ${method}` }, method.toUpperCase()), ` ${path}`));
}

function filter() {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const item of document.querySelectorAll("[data-text]")) item.hidden = !item.dataset.text.includes(wanted);
}

offerTheme(byId("theme"));
byId("filter").addEventListener("input", filter);
try {
  const answer = await fetch("/openapi.json");
  draw(await answer.json());
} catch {
  byId("description").append(element("p", { class: "wrong", role: "alert" }, "The contract could not be read. Reload the page."));
}
