"use strict";
// The pointer's second in every chart at once, with the values in the legends.
const charts = [...document.querySelectorAll(".chart")].filter((chart) => chart.querySelector("script")).map((chart) => ({
  plot: chart.querySelector(".plot"),
  cursor: chart.querySelector(".cursor"),
  values: [...chart.querySelectorAll(".legend em")],
  data: JSON.parse(chart.querySelector("script").textContent),
}));
const show = (share) => {
  for (const { cursor, values, data } of charts) {
    const count = data.lines[0].length;
    const index = Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    cursor.style.display = share === null ? "none" : "block";
    cursor.style.left = `${100 * share}%`;
    data.lines.forEach((line, at) => {
      values[at].textContent = share === null ? "" : line[index] ?? "–";
    });
  }
};
for (const { plot } of charts) {
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    show(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  });
  plot.addEventListener("pointerleave", () => show(null));
}
