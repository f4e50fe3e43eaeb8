const SVG = "http://www.w3.org/2000/svg";

/**
 * A new element. Functions among the attributes are listeners; what is false or missing is left out. Strings among the
 * children become text, never markup.
 */
export function element(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function drawing(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

function dressed(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  const present = (child) => child !== null && child !== undefined && child !== false;
  made.append(...children.flat(Infinity).filter(present));
  return made;
}
