import { byId, element } from "./element.js";
import { showModels } from "./models.js";
import { Sparkline } from "./sparkline.js";
import { milliseconds, rate } from "./wording.js";

const EVERY_MS = 1500;
/** Two minutes of looking. */
const POINTS = 80;

/** The fleet as it is now, asked for while somebody looks. */
export function watchFleet() {
  const waiting = new Sparkline(byId("live-waiting-plot"), POINTS);
  const answers = new Sparkline(byId("live-rate-plot"), POINTS);
  let timer;
  let busy = false;

  async function look() {
    clearTimeout(timer);
    // One at a time: a slow answer is no reason to ask twice.
    if (document.hidden || busy) return;
    busy = true;
    const status = await fetch("/api/status").then((response) => (response.ok ? response.json() : null)).catch(() => null);
    busy = false;
    if (status) show(status, waiting, answers);
    else lost();
    if (!document.hidden) timer = setTimeout(look, EVERY_MS);
  }
  document.addEventListener("visibilitychange", look);
  look();
}

function show({ report, queues, workers, answered, latency_ms: latency, version }, waitingPlot, answersPlot) {
  const ready = workers.filter(({ state }) => state === "ready");
  const busy = ready.reduce((sum, worker) => sum + worker.busy, 0) / Math.max(ready.length, 1);
  const waiting = queues.reduce((sum, queue) => sum + queue.waiting, 0);
  const inHand = queues.reduce((sum, queue) => sum + queue.in_flight, 0);
  const perSecond = Object.values(answered).reduce((sum, each) => sum + each, 0);

  tell(ready.length === 0 ? "bad" : report.name === "none" ? "good" : "strained", report.sentence);
  set("live-workers", String(ready.length), `${Math.round(100 * busy)} % busy`);
  set("live-waiting", String(waiting), inHand > 0 ? `${inHand} in workers' hands` : "none in hand");
  set("live-rate", rate(perSecond), "a second");
  set("live-latency", latency ? milliseconds(latency.p50) : "–", latency ? `p99 ${milliseconds(latency.p99)}` : "nobody asked");
  byId("live-advice").replaceChildren(...report.advice.slice(0, 3).map(({ what }) => element("li", {}, what)));
  byId("version").textContent = `Shoal ${version}`;
  waitingPlot.add(waiting);
  answersPlot.add(perSecond);
  showModels(distinct(ready.map(({ model }) => model)));
}

const distinct = (models) => [...new Map(models.map((model) => [model.name, model])).values()];

function lost() {
  tell("bad", "The gateway does not answer.");
}

function set(id, value, note) {
  byId(id).textContent = value;
  byId(`${id}-note`).textContent = note;
}

/** Said aloud only when it is another sentence; numbers in it would make it one every time. */
function tell(state, sentence) {
  const dot = byId("live-state");
  dot.className = `dot ${state}`;
  byId("live-sentence").textContent = sentence;
  const spoken = byId("live-spoken");
  const wording = { good: "The fleet keeps up.", strained: "The fleet is at its limit.", bad: "The fleet cannot answer." }[state];
  if (spoken.textContent !== wording) spoken.textContent = wording;
}
