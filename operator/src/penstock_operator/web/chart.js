// Lines over time as SVG. One time axis for all charts of a service, so that causes stand above effects.

import { h, s } from "./dom.js";
import { clock } from "./format.js";

const LEFT = 54;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;

function ceiling(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * unit).find((step) => step >= value * 0.999);
}

// Runs of points that are known; a gap stays a gap.
function runs(points, column) {
  const found = [];
  let open = null;
  for (const point of points) {
    const value = point[column];
    if (value === null || value === undefined) {
      open = null;
    } else {
      if (open === null) found.push((open = []));
      open.push([point[0], value]);
    }
  }
  return found;
}

function path(run, x, y, stepped) {
  let text = "";
  run.forEach(([at, value], index) => {
    const across = x(at).toFixed(1);
    if (index === 0) text += `M${across} ${y(value).toFixed(1)}`;
    else text += stepped ? `H${across}V${y(value).toFixed(1)}` : `L${across} ${y(value).toFixed(1)}`;
  });
  return text;
}

function timeMarks(from, to) {
  const span = to - from;
  const step = [30, 60, 120, 300, 600].find((size) => span / size <= 6) ?? 600;
  const marks = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) marks.push(at);
  return marks;
}

// series: [{column, name, kind, stepped, area}], limits: [{value, name, kind}]
export function chart({ title, points, series, limits = [], format, width, height = 150, whole = false }) {
  const seen = series.flatMap((one) => points.map((point) => point[one.column])).filter((value) => value !== null && value !== undefined);
  const known = seen.length > 0;
  const highest = Math.max(0, ...seen);
  // A threshold far above what is measured would press the line flat, so it only counts when it is near.
  const near = limits.map((limit) => limit.value).filter((value) => value <= Math.max(highest * 4, Number.EPSILON));
  let top = ceiling(Math.max(highest, ...near) * 1.05);
  const unit = whole ? Math.max(1, Math.ceil(highest / 4)) : top / 2;
  if (whole) top = unit * Math.max(2, Math.ceil(highest / unit));
  const to = points.length ? points.at(-1)[0] : 0;
  const from = points.length ? Math.min(points[0][0], to - 60) : -60;
  const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - (Math.min(value, top) / top) * (height - TOP - BOTTOM);
  const marks = Array.from({ length: Math.round(top / unit) + 1 }, (_, index) => index * unit);

  const grid = marks.map((value) => [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    s("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ]);
  const times = timeMarks(from, to).map((at) =>
    s("text", { class: "tick", x: x(at), y: height - 5, "text-anchor": "middle" }, clock(at).slice(0, 5)),
  );
  const shapes = series.flatMap((one) =>
    runs(points, one.column).flatMap((run) => {
      const line = path(run, x, y, one.stepped);
      const shape = s("path", { class: `line ${one.kind}`, d: line });
      if (!one.area) return [shape];
      const closed = `${line}V${y(0)}H${x(run[0][0]).toFixed(1)}Z`;
      return [s("path", { class: `area ${one.kind}`, d: closed }), shape];
    }),
  );
  const bounds = limits
    .filter((limit) => limit.value <= top)
    .map((limit) => s("line", { class: `limit ${limit.kind}`, x1: LEFT, x2: width - RIGHT, y1: y(limit.value), y2: y(limit.value) }));
  const last = points.at(-1) ?? [];
  const words = series.map((one) => `${one.name} ${format(last[one.column])}`).join(", ");
  const cursor = s("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
  const picture = s(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} now: ${words}`, preserveAspectRatio: "xMidYMid meet" },
    grid,
    times,
    shapes,
    bounds,
    cursor,
    known ? null : s("text", { class: "empty", x: (width + LEFT) / 2, y: height / 2, "text-anchor": "middle" }, "nothing measured yet"),
  );
  const readout = h("span", { class: "readout" });
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = from + (((event.clientX - box.left) / box.width) * width - LEFT) * ((to - from) / (width - LEFT - RIGHT));
    const point = points.reduce((best, one) => (Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best), points[0]);
    if (!point) return;
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(point[0]));
    cursor.setAttribute("visibility", "visible");
    readout.textContent = `${clock(point[0])}  ${series.map((one) => `${one.name} ${format(point[one.column])}`).join("  ")}`;
  });
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = "";
  });
  const keys = [...series, ...limits].map((one) =>
    h("span", { class: "key" }, h("span", { class: `swatch ${one.kind}` }), one.name),
  );
  return h("figure", { class: "chart" }, h("figcaption", {}, h("strong", {}, title), h("span", { class: "keys" }, keys), readout), picture);
}
