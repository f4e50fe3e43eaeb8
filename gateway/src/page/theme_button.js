import { forget, keep } from "./kept.js";

/** The button that goes from the system's theme to the other one and back. */
export function offerTheme(button) {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    // Back at the system's own: follow it from now on.
    if ((wanted === "dark") === dark.matches) {
      delete root.dataset.theme;
      forget("shoal.theme");
    } else {
      root.dataset.theme = wanted;
      keep("shoal.theme", wanted);
    }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
  button.hidden = false;
}
