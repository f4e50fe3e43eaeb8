"use strict";
// Loaded before the first paint, so that a chosen theme does not flash.
try {
  const chosen = localStorage.getItem("shoal.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // The browser keeps nothing: the system's theme it is.
}
