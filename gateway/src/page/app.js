"use strict";

const byId = (id) => document.getElementById(id);
const answers = byId("answers");

/** Stages in the order in which they happen, and what kind of time each is. */
const STAGES = [
  ["receive", "way"], ["hash", "way"], ["cache", "way"], ["join", "queue"], ["publish", "way"], ["queue", "queue"],
  ["fetch", "queue"], ["decode", "work"], ["batch_wait", "queue"], ["infer", "work"], ["store", "way"], ["reply", "way"],
];

/** How sure a score is, in words. */
function inWords(score) {
  if (score >= 0.95) return "almost certain";
  if (score >= 0.75) return "likely";
  if (score >= 0.45) return "perhaps";
  return "unsure";
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  Object.assign(made, attributes);
  return made;
}

/** A new card at the top, showing the picture. */
function newCard(file) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const picture = card.querySelector("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name || "pasted image";
  picture.onerror = () => picture.remove();
  card.querySelector("h2").textContent = "…";
  answers.prepend(card);
  byId("empty").hidden = true;
  return card;
}

function topRow({ label, score }) {
  const row = element("li");
  row.append(
    element("span", label, { title: label }),
    element("progress", undefined, { max: 1, value: score }),
    element("span", percent(score)),
  );
  return row;
}

/** Where the time went, to scale. */
function waterfall(timing) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const total = timing.total || 1;
  svg.setAttribute("viewBox", `0 0 ${total} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  let at = 0;
  for (const [stage, kind] of STAGES) {
    const took = timing[stage];
    if (!took) continue;
    const part = document.createElementNS(space, "rect");
    Object.entries({ x: at, y: 0, width: took, height: 1, class: kind }).forEach(([k, v]) => part.setAttribute(k, v));
    const title = document.createElementNS(space, "title");
    title.textContent = `${stage.replace("_", " ")} ${took.toFixed(2)} ms`;
    part.append(title);
    svg.append(part);
    at += took;
  }
  return svg;
}

function facts(answer) {
  const { timing_ms: timing } = answer;
  const parts = [
    ["total", `${timing.total.toFixed(1)} ms`],
    ["queue", timing.queue && `${timing.queue.toFixed(1)} ms`],
    ["decode", timing.decode && `${timing.decode.toFixed(1)} ms`],
    ["inference", timing.infer && `${timing.infer.toFixed(1)} ms`],
    ["cache", answer.cache], ["model", answer.model], ["batch", answer.batch],
  ];
  return parts.filter(([, value]) => value).flatMap(([name, value], i) => [i ? " · " : "", `${name} `, element("b", value)]);
}

function showAnswer(card, answer) {
  card.querySelector("h2").textContent = answer.prediction;
  card.querySelector(".sure").textContent = `${inWords(answer.score)}, ${percent(answer.score)}`;
  card.querySelector(".top").replaceChildren(...answer.top.map(topRow));
  const bar = card.querySelector(".bar");
  bar.ariaLabel = `answered in ${answer.timing_ms.total.toFixed(1)} milliseconds`;
  bar.replaceChildren(waterfall(answer.timing_ms));
  card.querySelector(".facts").replaceChildren(...facts(answer));
}

function showError(card, message, code) {
  card.classList.add("failed");
  card.querySelector("h2").textContent = message;
  card.querySelector(".sure").textContent = code;
}

async function ask(file) {
  const card = newCard(file);
  const form = new FormData();
  form.append("file", file, file.name || "pasted");
  try {
    const response = await fetch("/predict?top_k=5", { method: "POST", body: form });
    const answer = await response.json();
    if (answer.success) return showAnswer(card, answer);
    const wait = response.headers.get("retry-after");
    showError(card, answer.error.message, answer.error.code + (wait ? `: try again in ${wait} s` : ""));
  } catch {
    showError(card, "The gateway did not answer.", "connection");
  }
}

/** One after the other: the order of the cards is the order of the files. */
async function askAll(files) {
  for (const file of files) await ask(file);
}

function listen() {
  const drop = byId("drop");
  byId("files").onchange = (event) => askAll([...event.target.files]).then(() => { event.target.value = ""; });
  document.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  document.ondragleave = (event) => { if (!event.relatedTarget) drop.classList.remove("over"); };
  document.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    askAll([...event.dataTransfer.files]);
  };
  document.onpaste = (event) => askAll([...event.clipboardData.files]);
}

async function offerSamples() {
  const { samples } = await (await fetch("/samples")).json();
  const row = byId("samples");
  row.hidden = samples.length === 0;
  for (const name of samples) {
    const button = element("button", undefined, { type: "button", title: name });
    button.append(element("img", undefined, { src: `/samples/${name}`, alt: name }));
    button.onclick = async () => {
      const picture = await (await fetch(`/samples/${name}`)).blob();
      ask(new File([picture], name, { type: picture.type }));
    };
    row.append(button);
  }
}

/** The fleet in one line, every two seconds while somebody looks. */
async function watchFleet() {
  const line = byId("fleet");
  if (!document.hidden) {
    try {
      const { report, queues, workers } = await (await fetch("/api/status")).json();
      const ready = workers.filter((worker) => worker.state === "ready");
      const busy = ready.reduce((sum, worker) => sum + worker.busy, 0) / Math.max(ready.length, 1);
      const waiting = queues.reduce((sum, queue) => sum + queue.waiting, 0);
      line.classList.toggle("bad", ready.length === 0);
      line.title = report.sentence;
      line.textContent = ready.length === 0
        ? "No worker is serving at the moment"
        : `${ready.length} ${ready.length === 1 ? "worker" : "workers"}, ${Math.round(100 * busy)} % busy`
          + (waiting > 0 ? `, ${waiting} waiting` : "")
          + (report.name === "none" ? "" : `: ${report.sentence.split(";")[0]}`);
      const titles = [...new Set(ready.map((worker) => worker.model.title || worker.model.name))];
      byId("model").textContent = titles.length ? `Model: ${titles.join(", ")}` : "";
    } catch {
      line.classList.add("bad");
      line.textContent = "The gateway does not answer";
    }
  }
  setTimeout(watchFleet, 2000);
}

byId("curl").textContent = `curl -F file=@PHOTO ${location.origin}/predict`;
listen();
offerSamples();
watchFleet();
