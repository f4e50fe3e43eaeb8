import { element } from "./element.js";

/** The picture itself, straight from the visitor's file; its extension where the browser cannot show the format. */
export function preview(source, name) {
  const picture = element("img", { alt: "", decoding: "async" });
  const frame = element("div", { class: "preview" }, picture);
  picture.addEventListener("error", () => {
    const extension = /\.(\w{1,5})$/.exec(name)?.[1] ?? "file";
    picture.replaceWith(element("span", { class: "no-picture" }, extension.toUpperCase()));
  });
  picture.src = source;
  return { frame, picture };
}
