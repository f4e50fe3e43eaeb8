import { element } from "./element.js";

/** What a reference leads to. */
export function resolve(value, document) {
  if (!value?.$ref) return value;
  const steps = value.$ref.replace("#/", "").split("/");
  return resolve(steps.reduce((node, step) => node?.[step.replaceAll("~1", "/")], document), document);
}

export function nameOf(reference) {
  return reference.split("/").at(-1);
}

/** Paragraphs, with `code` in them. */
export function prose(text) {
  return (text ?? "").trim().split(/\n\s*\n/).filter(Boolean).map((paragraph) =>
    element("p", {}, paragraph.split("`").map((piece, index) => index % 2 ? element("code", {}, piece) : piece)));
}

/** A schema in words; the fields of an object as a list. */
export function schemaView(schema, document, depth = 0) {
  const known = resolve(schema, document);
  if (!known) return null;
  const fields = Object.entries(known.properties ?? {});
  if (fields.length === 0 && known.items && depth < 3) {
    const inner = resolve(known.items, document);
    if (inner?.properties) return element("div", {}, element("p", { class: "faint" }, "a list of"), schemaView(inner, document, depth + 1));
  }
  if (fields.length === 0 || depth >= 3) return element("span", { class: "type" }, words(known, document));
  return element("dl", { class: "fields" }, fields.map(([name, field]) => {
    const inner = resolve(field, document) ?? {};
    const nested = inner.properties || resolve(inner.items, document)?.properties;
    return [
      element("dt", {}, element("code", {}, name), known.required?.includes(name) ? "" : element("span", { class: "faint" }, " optional")),
      element("dd", {}, element("span", { class: "type" }, words(inner, document)), inner.description ? prose(inner.description) : null,
        nested ? schemaView(inner, document, depth + 1) : null),
    ];
  }));
}

function words(schema, document) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map((one) => words(resolve(one, document), document)).join(" or ");
  if (schema.contentMediaType) return "bytes";
  const type = [schema.type ?? "anything"].flat().join(" or ");
  const of = schema.items ? ` of ${words(resolve(schema.items, document) ?? {}, document)}` : "";
  return `${type}${of}${bounds(schema)}${schema.format ? `, ${schema.format}` : ""}${schema.pattern ? `, ${schema.pattern}` : ""}`;
}

function bounds({ minimum, maximum, minLength, maxLength, default: usual }) {
  const range = minimum !== undefined || maximum !== undefined ? `, ${minimum ?? "…"} to ${maximum ?? "…"}` : "";
  const length = maxLength !== undefined ? `, ${minLength ?? 0} to ${maxLength} characters` : "";
  return `${range}${length}${usual !== undefined ? `, ${JSON.stringify(usual)} when left out` : ""}`;
}
