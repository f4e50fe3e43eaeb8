import { notify } from "./announce.js";
import { byId } from "./element.js";

/** Images come by choosing, dropping anywhere on the page, or pasting. */
export function takeIn(askAll) {
  const drop = byId("drop");
  for (const input of [byId("files"), byId("photo")]) {
    input.addEventListener("change", () => {
      askAll([...input.files]);
      // The same file may be chosen again.
      input.value = "";
    });
  }
  byId("files").multiple = true;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const { files } = event.dataTransfer;
    if (files.length > 0) askAll([...files]);
    else notify("That was no file. Save the image first, or copy and paste it.");
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    askAll(files);
  });
}
