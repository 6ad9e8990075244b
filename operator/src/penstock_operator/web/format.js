// Numbers, times and states in words. What is not known is a dash, never a zero.

export const UNKNOWN = "–";

export function number(value, digits = 0) {
  if (value === null || value === undefined) return UNKNOWN;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// Three digits are enough for any quantity.
export function short(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 1e6) return `${number(value / 1e6, 2)} M`;
  if (size >= 1e4) return `${number(value / 1e3, 1)} k`;
  return number(value, size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2);
}

export function seconds(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value === 0) return "0";
  if (value < 1) return `${number(value * 1000, value < 0.01 ? 1 : 0)} ms`;
  return `${number(value, value < 10 ? 2 : 1)} s`;
}

export function age(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 10) return `${number(value, 1)} s`;
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  return `${number(value / 3600)} h`;
}

export function percent(value, digits = 1) {
  return value === null || value === undefined ? UNKNOWN : `${number(value * 100, digits)}\u00a0%`;
}

export function money(value, currency) {
  if (value === null || value === undefined) return UNKNOWN;
  try {
    return value.toLocaleString("en", { style: "currency", currency, minimumFractionDigits: 2 });
  } catch {
    return `${number(value, 2)} ${currency}`;
  }
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function spell(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export function condition(service, type) {
  return service.conditions.find((item) => item.type === type) ?? { status: "Unknown", reason: "", message: "" };
}

// One word for the whole service: what a person must look at first comes first.
export function verdict(service) {
  const ready = condition(service, "Ready");
  const asleep = ready.reason === "ScaledToZero";
  if (ready.status !== "True" && !asleep) return { tone: "bad", word: ready.reason || "Not ready" };
  if (condition(service, "SLAMet").status === "False") return { tone: "bad", word: "SLA missed" };
  const scaling = condition(service, "ScalingActive");
  if (scaling.status === "False" && !["ManualReplicas", "Paused", "Advise"].includes(scaling.reason)) {
    return { tone: "warn", word: scaling.reason };
  }
  if (condition(service, "ScalingLimited").status === "True") return { tone: "warn", word: "Limited" };
  if (asleep) return { tone: "calm", word: "Scaled to zero" };
  return { tone: "good", word: "Good" };
}
