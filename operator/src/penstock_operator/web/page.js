// The page: asks the operator again and again, shows the list and the chosen service, and says when nobody answers.

import { detail } from "./detail.js";
import { h } from "./dom.js";
import { age, clock, money, number, short, spell, verdict } from "./format.js";

const LATE_SECONDS = 12;
const GIVE_UP_MILLISECONDS = 5000;
const find = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;

let page = null; // the last answer, of all services in brief
let chosen = null; // the last answer for the chosen service
let answeredAt = null; // on this machine's clock
let advancedAt = null; // when the operator's own time last moved on
let problem = "";
let pace = 0; // seconds that the last round took
let shown = ""; // what the detail shows, so that focus and selection survive a round without news

function keyOf(service) {
  return `${service.namespace}/${service.name}`;
}

// What stands behind the # may be anything; what is no text chooses nothing.
function address() {
  try {
    return decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  } catch {
    return "";
  }
}

function wanted() {
  const text = address();
  if (text.includes("/")) return text;
  return page?.services.length === 1 ? keyOf(page.services[0]) : null;
}

function matching() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  return page.services.filter((service) => {
    const text = `${keyOf(service)} ${service.model} ${service.engine} ${service.mode} ${verdict(service).word} ${service.emulated === null ? "" : "emulated"}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

async function ask(query) {
  const response = await fetch(`state.json?${query}`, { signal: AbortSignal.timeout(GIVE_UP_MILLISECONDS), cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

async function round() {
  try {
    const answer = await ask("brief=1");
    if (page === null || answer.at > page.at) advancedAt = now();
    page = answer;
    const key = wanted();
    chosen = key === null ? null : await ask(`service=${encodeURIComponent(key)}`);
    answeredAt = now();
    problem = "";
  } catch (error) {
    problem = error.name === "TimeoutError" ? "no answer in time" : error.message;
  }
  render();
}

function render() {
  health();
  if (page === null) return;
  list();
  main();
}

function health() {
  const silent = answeredAt === null ? null : now() - Math.min(answeredAt, advancedAt);
  const stale = problem !== "" || (silent !== null && silent > LATE_SECONDS + 6 * pace);
  const pill = find("health");
  const banner = find("banner");
  document.body.classList.toggle("stale", stale);
  banner.hidden = !stale;
  if (stale) {
    const since = page === null ? "" : ` What you see is from ${clock(page.at)}, ${age(silent)} ago.`;
    say(banner, `The operator does not answer${problem ? ` (${problem})` : ""}.${since}`);
    say(pill, "stale");
    pill.className = "pill bad";
    return;
  }
  if (page === null) return;
  const source = page.metrics_source;
  if (source.ok === false) {
    banner.hidden = false;
    say(banner, `The metrics source gives nothing. Services with the reason SignalsFromPods go on by what their workers say; of others nothing is removed, and added only as far as the load is known: ${source.detail}`);
  }
  say(pill, source.ok === false ? "live, without metrics" : "live");
  pill.className = `pill ${source.ok === false ? "warn" : "good"}`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function list() {
  const services = matching();
  const replicas = page.services.reduce((sum, service) => sum + service.replicas.ready, 0);
  const costs = new Map();
  for (const { cost } of page.services) if (cost) costs.set(cost.currency, (costs.get(cost.currency) ?? 0) + cost.per_hour);
  const spent = [...costs].map(([currency, value]) => `${money(value, currency)} per hour`);
  const summary = [spell(page.services.length, "service"), `${spell(replicas, "replica")} ready`, ...spent, `tick ${number(page.tick_seconds)} s`, `v${page.version}`];
  say(find("summary"), summary.join(" · "));
  say(find("count"), services.length === page.services.length ? "" : `${number(services.length)} of ${spell(page.services.length, "service")}`);
  find("search").hidden = page.services.length < 2;

  const active = wanted();
  const held = document.activeElement?.closest?.("#list a")?.getAttribute("href");
  find("list").replaceChildren(...services.map((service) => entry(service, active)));
  if (held) [...find("list").querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus({ preventScroll: true });
}

function entry(service, active) {
  const { tone, word } = verdict(service);
  const key = keyOf(service);
  const { replicas, load } = service;
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#/${encodeURIComponent(key)}`, "aria-current": key === active ? "true" : null },
      h("span", { class: `dot ${tone}`, title: word }),
      h("span", { class: "name" }, service.name, h("small", {}, service.namespace)),
      h("span", { class: "counts" }, `${number(replicas.ready)}/${number(replicas.desired)}`, h("small", {}, `${short(load.offered_tokens_per_second)} tok/s`)),
      h("span", { class: "sr" }, word),
    ),
  );
}

function main() {
  const place = find("detail");
  const service = chosen?.services[0];
  const key = wanted();
  let content;
  let mark;
  if (service && keyOf(service) === key) {
    const room = place.clientWidth;
    mark = `${room} ${JSON.stringify(chosen)}`;
    content = () => detail(service, chosen.at, page.tick_seconds, room);
  } else if (!page.services.length) {
    mark = "none";
    content = () => [h("div", { class: "empty-state" }, h("h2", {}, "No InferenceService yet"), h("p", {}, "Create one, and it appears here:"), h("pre", {}, "kubectl apply -f examples/chat.yaml"))];
  } else if (key === null) {
    mark = "choose";
    content = () => [h("div", { class: "empty-state" }, h("h2", {}, "Choose a service"), h("p", { class: "quiet" }, "Arrow keys move in the list, / finds, Enter opens."))];
  } else {
    mark = `gone ${key} ${chosen !== null}`;
    const text = chosen === null || chosen.services.length ? "loading" : "does not exist";
    content = () => [h("div", { class: "empty-state" }, h("h2", {}, key), h("p", { class: "quiet" }, text))];
  }
  if (mark === shown || place.contains(getSelectionNode())) return;
  shown = mark;
  place.replaceChildren(...content());
  document.title = service ? `${service.name} · Penstock` : "Penstock";
}

// Somebody who marks text to copy it keeps it until the mark is gone.
function getSelectionNode() {
  const selection = getSelection();
  return selection && !selection.isCollapsed ? selection.anchorNode : null;
}

function onKey(event) {
  const search = find("search");
  if (event.key === "/" && document.activeElement !== search && !search.hidden) {
    event.preventDefault();
    search.focus();
    return;
  }
  if (!["ArrowDown", "ArrowUp"].includes(event.key) || !find("side").contains(document.activeElement)) return;
  const links = [...find("list").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const next = event.key === "ArrowDown" ? at + 1 : at - 1;
  event.preventDefault();
  (next < 0 ? search : links[Math.min(next, links.length - 1)])?.focus();
}

async function forever() {
  for (;;) {
    const began = now();
    try {
      await round();
    } catch (error) {
      console.error(error); // what cannot be drawn must not end the asking
    }
    pace = now() - began;
    const period = Math.min(5, Math.max(1, page?.tick_seconds ?? 2));
    // What took long was much work for the operator, which has better things to do.
    await new Promise((done) => setTimeout(done, Math.max(period, 4 * pace) * 1000));
  }
}

find("search").addEventListener("input", () => page && list());
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", () => {
  render();
  round();
});
window.addEventListener("resize", render);
setInterval(health, 1000);
forever();
