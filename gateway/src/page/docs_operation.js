import { element } from "./element.js";
import { nameOf, prose, resolve, schemaView } from "./docs_schema.js";

/** One operation: what it takes, what it gives, and how to ask for it from a shell. */
export function operation(one, document) {
  const { operationId, method, path, summary, description } = one;
  const parameters = one.parameters.map((parameter) => resolve(parameter, document));
  return element("article", { class: "panel operation", id: operationId, "data-text": `${method} ${path} ${summary ?? ""}`.toLowerCase() },
    element("h3", {}, element("a", { href: `#${operationId}` }, element("span", { class: `verb ${method}` }, method.toUpperCase()), element("code", {}, ` ${path}`))),
    summary ? element("p", { class: "summary" }, summary) : null,
    prose(description),
    parameters.length > 0 ? parameterTable(parameters, document) : null,
    one.requestBody ? body(resolve(one.requestBody, document), document) : null,
    responses(one.responses, document),
    element("pre", { tabindex: "0", "aria-label": "Command" }, element("code", {}, curl(one, document))));
}

function parameterTable(parameters, document) {
  return element("table", {},
    element("caption", {}, "Parameters"),
    element("tbody", {}, parameters.map(({ name, in: place, required, description, schema }) => element("tr", {},
      element("th", { scope: "row" }, element("code", {}, name)),
      element("td", { class: "faint" }, required ? `${place}, required` : place),
      element("td", {}, schemaView(schema, document)),
      element("td", {}, prose(description))))));
}

function body(requestBody, document) {
  return element("div", {}, element("h4", {}, "Body"), contents(requestBody.content, document));
}

function responses(all, document) {
  const rows = Object.entries(all).map(([status, response]) => {
    const { description, headers = {}, content = {} } = resolve(response, document);
    const names = Object.keys(headers);
    return element("details", { class: "response" },
      element("summary", {}, element("strong", { class: `status s${status[0]}` }, status), ` ${plain(description)}`),
      names.length > 0 ? element("p", { class: "faint" }, `Headers: ${names.join(", ")}`) : null,
      contents(content, document));
  });
  return element("div", {}, element("h4", {}, "Answers"), rows);
}

function contents(content, document) {
  return Object.entries(content ?? {}).map(([type, { schema }]) => element("div", { class: "content" },
    element("p", { class: "faint" }, element("code", {}, type), schema?.$ref ? ` · ${nameOf(schema.$ref)}` : ""),
    schemaView(schema, document)));
}

function curl({ method, path, requestBody }, document) {
  const parts = ["curl"];
  if (method !== "get" && method !== "post") parts.push(`-X ${method.toUpperCase()}`);
  const types = Object.keys(resolve(requestBody, document)?.content ?? {});
  if (types.includes("multipart/form-data")) parts.push("-F file=@PHOTO");
  else if (types.includes("application/json")) parts.push("-d @BODY.json -H 'Content-Type: application/json'");
  else if (types.includes("application/x-www-form-urlencoded")) parts.push("-d username=EMAIL -d password=PASSWORD");
  else if (method === "post") parts.push("-X POST");
  parts.push(`'${location.origin}${path.replaceAll(/[{](.+?)[}]/g, (_, name) => name.toUpperCase())}'`);
  return parts.join(" ");
}

function plain(text = "") {
  return text.replaceAll("`", "");
}
