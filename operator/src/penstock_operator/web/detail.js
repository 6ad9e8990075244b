// One service in full: how it is, why, and how it came to be so.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { UNKNOWN, age, clock, condition, money, number, percent, seconds, short, spell, verdict } from "./format.js";

const AT_MOST_PIPS = 40;

export function detail(service, at, tick, room) {
  return [
    heading(service),
    why(service, at, tick),
    h("div", { class: "cards" }, replicaCard(service), loadCard(service), slaCard(service), costCard(service)),
    charts(service, room),
    h(
      "div",
      { class: "tables" },
      decisionsTable(service),
      service.mode === "Manual" ? null : prospects(service),
      service.mode === "Manual" ? null : signalsTable(service),
      conditionsTable(service),
    ),
  ];
}

function heading(service) {
  const { tone, word } = verdict(service);
  return h(
    "div",
    { class: "heading" },
    h("h2", {}, h("span", { class: "quiet" }, `${service.namespace} / `), service.name),
    h("span", { class: `pill ${tone}` }, word),
    service.emulated === null
      ? null
      : h("span", { class: "pill emulated", title: "The workers run on an emulated device: its speed is a model's, no accelerator's" }, `EMULATED ${service.emulated}`),
    h("p", { class: "quiet" }, `model ${service.model} · engine ${service.engine || UNKNOWN} · mode ${service.mode || UNKNOWN}`),
  );
}

function why(service, at, tick) {
  const { decision } = service;
  const ready = condition(service, "Ready");
  const lines = [];
  if (ready.status !== "True") lines.push([ready.reason, ready.message]);
  if (decision !== null) {
    const limit = decision.limited_by === "None" ? "" : ` · limited by ${decision.limited_by}`;
    lines.push([`${decision.reason}${limit}`, decision.message]);
    if (!decision.act) lines.push(["Not carried out", "the decision is only shown: see conditions"]);
    if (at - decision.at > 3 * tick + 5) lines.push(["Late", `no decision for ${age(at - decision.at)}`]);
  } else if (service.mode === "Manual") {
    lines.push(["Fixed count", "spec.replicas is set, so nothing is decided"]);
  } else if (service.mode === "") {
    lines.push(["Not read", "the spec cannot be read, so nothing is decided: see conditions"]);
  }
  return h("ul", { class: "why", "aria-label": "Why" }, lines.map(([head, text]) => h("li", {}, h("strong", {}, head), " ", text)));
}

function card(title, ...content) {
  return h("section", { class: "card" }, h("h3", {}, title), content);
}

function facts(...pairs) {
  return h("dl", {}, pairs.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function replicaCard({ replicas }) {
  const states = [
    ["ready", replicas.ready],
    ["starting", replicas.starting],
    ["failing", replicas.failing],
    ["unschedulable", replicas.unschedulable],
  ];
  const room = Math.max(0, (replicas.max ?? 0) - replicas.ready - replicas.starting - replicas.failing - replicas.unschedulable);
  const pips = [...states, ["room", room]].flatMap(([kind, count]) => Array(count).fill(kind)).slice(0, AT_MOST_PIPS);
  // Those that drain are still ready, so the last of the ready ones carry the mark.
  for (let left = replicas.ready - replicas.serving, index = replicas.ready - 1; left > 0; left -= 1, index -= 1) {
    if (index < pips.length) pips[index] = "draining";
  }
  return card(
    "Replicas",
    h("p", { class: "big" }, number(replicas.ready), h("small", {}, ` ready of ${number(replicas.desired)} wanted`)),
    h("p", { class: "pips", "aria-hidden": "true" }, pips.map((kind) => h("span", { class: `pip ${kind}`, title: kind }))),
    facts(
      ["starting", number(replicas.starting)],
      replicas.failing ? ["failing", h("span", { class: "text-bad" }, number(replicas.failing))] : null,
      ["draining", number(replicas.draining)],
      ["no room", number(replicas.unschedulable)],
      ["bounds", `${number(replicas.min)} – ${number(replicas.max)}`],
    ),
  );
}

function loadCard(service) {
  const { load, capacity, replicas } = service;
  const each = capacity.tokens_per_second_per_replica;
  const whole = each === null ? null : each * replicas.serving; // what drains gets no new requests
  const busy = whole && load.offered_tokens_per_second !== null ? load.offered_tokens_per_second / whole : null;
  const unknown = whole === 0 ? "no replica serves" : whole === null ? "capacity not known" : "load not known";
  return card(
    "Load",
    h("p", { class: "big" }, short(load.offered_tokens_per_second), h("small", {}, " tok/s offered")),
    meter(busy, busy !== null && busy > 1 ? "bad" : "good", busy === null ? unknown : `${percent(busy, 0)} of capacity`),
    facts(
      ["served", `${short(load.served_tokens_per_second)} tok/s`],
      ["capacity", whole === null ? "not learned yet" : `${short(whole)} tok/s`],
      ["one replica", each === null ? UNKNOWN : `${short(each)} tok/s, ${capacity.source.toLowerCase()}`],
      ["arrivals", `${short(load.offered_requests_per_second)} req/s`],
      ["tokens each", short(load.tokens_per_request)],
      ["held · waiting", `${number(load.held)} · ${number(load.waiting)}`],
      ["running", number(load.running)],
    ),
  );
}

function slaCard({ objectives }) {
  if (!objectives.length) return card("Service level", h("p", { class: "quiet" }, "no objectives: spec.sla is not set"));
  return card(
    "Service level",
    objectives.map((one) => {
      const missed = one.error_budget_left !== null && one.error_budget_left < 0;
      const refused = missed && one.value_seconds !== null && one.value_seconds <= one.threshold_seconds;
      const over = one.value_seconds !== null && one.value_seconds > one.threshold_seconds;
      return h(
        "div",
        { class: "objective" },
        h(
          "p",
          {},
          h("strong", {}, `${one.metric} p${one.percentile} `),
          h("span", { class: missed || over ? "text-bad" : "" }, seconds(one.value_seconds)),
          h("span", { class: "quiet" }, ` of ${seconds(one.threshold_seconds)}`),
        ),
        meter(
          one.error_budget_left === null ? null : Math.max(0, one.error_budget_left),
          missed ? "bad" : one.error_budget_left < 0.25 ? "warn" : "good",
          one.error_budget_left === null
            ? one.why_unknown || `${percent(one.attainment, 2)} met in ${age(one.window_seconds)}`
            : `${budget(one.error_budget_left)} · ${percent(one.attainment, 2)} met in ${age(one.window_seconds)}`,
        ),
        refused ? h("p", { class: "quiet" }, "refused and failed requests are among the missed ones; the latency is of the others") : null,
      );
    }),
  );
}

function budget(left) {
  if (left >= 0) return `error budget ${percent(left, 0)} left`;
  const spent = 1 - left;
  return `error budget spent ${number(spent, spent >= 10 ? 0 : 1)} times over`;
}

function costCard({ cost, needed_replicas: needed }) {
  const need = facts(["replicas needed", needed === null ? UNKNOWN : number(needed, 2)]);
  if (cost === null) return card("Cost", h("p", { class: "quiet" }, "no price: spec.cost is not set"), need);
  return card(
    "Cost",
    h("p", { class: "big" }, money(cost.per_hour, cost.currency), h("small", {}, " per hour")),
    facts(["per million tokens", money(cost.per_million_tokens, cost.currency)]),
    need,
  );
}

function meter(share, tone, label) {
  const bar = h("span", { class: `fill ${tone}` });
  bar.style.width = `${Math.min(100, Math.max(0, (share ?? 0) * 100))}%`;
  return h("div", { class: "meter" }, h("div", { class: "track", "aria-hidden": "true" }, bar), h("span", {}, label));
}

// Widths in pixels of two, two, and the last chart, as the style sheet lays them out in so much room.
function sizes(room) {
  const shared = (columns) => Math.floor((room - (columns - 1) * 16) / columns) - 34;
  if (room > 900) return [shared(2), shared(3), shared(3)];
  return room > 560 ? [shared(2), shared(2), shared(1)] : [shared(1), shared(1), shared(1)];
}

function charts(service, room) {
  const points = service.history;
  const [large, small, last] = sizes(room);
  const threshold = (metric) =>
    service.objectives.filter((one) => one.metric === metric).map((one) => ({ value: one.threshold_seconds, name: `objective ${seconds(one.threshold_seconds)}`, kind: "threshold" }));
  return h(
    "div",
    { class: "charts" },
    chart({
      title: "Tokens per second",
      points,
      width: large,
      format: short,
      series: [
        { column: 2, name: "capacity", kind: "capacity", stepped: true, area: true },
        { column: 1, name: "offered", kind: "offered" },
        { column: 9, name: "served", kind: "served" },
      ],
    }),
    chart({
      title: "Replicas",
      points,
      width: large,
      format: (value) => number(value),
      whole: true,
      series: [
        { column: 4, name: "ready", kind: "ready", stepped: true, area: true },
        { column: 3, name: "desired", kind: "desired", stepped: true },
        { column: 5, name: "draining", kind: "draining", stepped: true },
      ],
    }),
    chart({ title: "TTFT, p95 of the last scrapes", points, width: small, format: seconds, limits: threshold("TTFT"), series: [{ column: 6, name: "TTFT", kind: "latency" }] }),
    chart({ title: "TPOT, p95 of the last scrapes", points, width: small, format: seconds, limits: threshold("TPOT"), series: [{ column: 7, name: "TPOT", kind: "latency" }] }),
    chart({ title: "Requests held and waiting", points, width: last, format: short, series: [{ column: 8, name: "queued", kind: "queue", area: true, stepped: true }] }),
  );
}

function table(title, head, rows, nothing) {
  return h(
    "section",
    { class: "table" },
    h("h3", {}, title),
    rows.length
      ? h(
          "div",
          { class: "scroll" },
          h("table", {}, h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows)),
        )
      : h("p", { class: "quiet" }, nothing),
  );
}

function row(...cells) {
  return h("tr", {}, cells.map((cell) => h("td", {}, cell)));
}

function decisionsTable({ decisions }) {
  return table(
    "Last decisions",
    ["at", "replicas", "reason", "with these numbers"],
    decisions.map((one) =>
      row(clock(one.at), h("span", { class: one.to > one.from ? "up" : "down" }, `${number(one.from)} → ${number(one.to)}`), one.act ? one.reason : `${one.reason} (advised only)`, one.message),
    ),
    "the count did not change since the operator started",
  );
}

function prospects({ predictions, decision }) {
  const modelled = predictions.some((one) => one.attainment !== null);
  const share = (one) => (one.attainment === null ? "no model yet" : percent(one.attainment, 2));
  return table(
    "What other counts would mean",
    ["replicas", "busy", ...(modelled ? ["predicted in SLA"] : [])],
    predictions.map((one) =>
      h(
        "tr",
        { class: decision !== null && one.replicas === decision.replicas ? "chosen" : null },
        [spell(one.replicas, "replica"), percent(one.utilisation, 0), ...(modelled ? [share(one)] : [])].map((cell) => h("td", {}, cell)),
      ),
    ),
    "nothing decided yet",
  );
}

function signalsTable({ signals }) {
  return table(
    "Signals",
    ["signal", "state", "value", "age", ""],
    signals.map((one) =>
      row(one.name, h("span", { class: `pill ${one.state === "Fresh" ? "good" : one.state === "Stale" ? "warn" : "bad"}` }, one.state), short(one.value), age(one.age_seconds), one.detail),
    ),
    "no signals are read: the count is fixed, or nothing was observed yet",
  );
}

function conditionsTable({ conditions }) {
  return table(
    "Conditions",
    ["condition", "status", "reason", "message"],
    conditions.map((one) => row(one.type, one.status, one.reason, one.message)),
    "none written yet",
  );
}
