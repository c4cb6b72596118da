// Numbers and times as people read them.

import type { Label } from "./types";

const LOCALE = "en-US";

export const count = (value: string | number | undefined): string => Number(value ?? 0).toLocaleString(LOCALE);

/** Return "1 example" or "2 examples". */
export const counted = (value: string | number, noun: string, plural = `${noun}s`): string =>
  `${count(value)} ${Number(value) === 1 ? noun : plural}`;

export function percent(value: number | undefined, digits = 1): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  const text = (value * 100).toFixed(digits);
  return `${digits ? text.replace(/\.0+$/, "") : text}%`;
}

export function signedPoints(value: number): string {
  const text = Math.abs(value * 100).toFixed(1).replace(/\.0$/, "");
  return `${value < 0 ? "−" : "+"}${text}`;
}

export function bytes(value: string | number): string {
  let size = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return `${size < 10 && unit !== "B" ? size.toFixed(1) : Math.round(size)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

/** Return the seconds of a duration such as "1.5s". */
export const seconds = (duration: string | undefined): number | undefined =>
  duration === undefined ? undefined : Number(duration.replace("s", ""));

export function span(value: number | undefined): string {
  if (value === undefined) return "–";
  if (value < 0.001) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 3600) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function ago(time: string | undefined, now = Date.now()): string {
  if (!time) return "–";
  const elapsed = (now - Date.parse(time)) / 1000;
  if (elapsed < 10) return "just now";
  if (elapsed < 60) return `${Math.round(elapsed)} s ago`;
  if (elapsed < 3600) return `${Math.round(elapsed / 60)} min ago`;
  if (elapsed < 86_400) return `${Math.round(elapsed / 3600)} h ago`;
  if (elapsed < 7 * 86_400) return counted(Math.round(elapsed / 86_400), "day") + " ago";
  return new Date(time).toLocaleDateString(LOCALE, { year: "numeric", month: "short", day: "numeric" });
}

export const exactTime = (time: string | undefined): string =>
  time ? new Date(time).toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "medium" }) : "";

/** Return a label as text. */
export function labelText(label: Label | undefined): string {
  if (!label) return "–";
  if (label.className !== undefined) return label.className;
  if (label.number !== undefined) return number(label.number);
  if (label.classes) return label.classes.classNames.join(", ") || "no class";
  const entries = Object.entries(label.probabilities?.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
  return entries[0]?.[0] ?? "–";
}

export const number = (value: number): string =>
  value.toLocaleString(LOCALE, { maximumSignificantDigits: 4, useGrouping: false });

/** Return a name that nothing else has. Pages over plain HTTP have no `crypto.randomUUID`. */
export const uniqueId = (): string =>
  [...crypto.getRandomValues(new Uint8Array(12))].map((each) => each.toString(16).padStart(2, "0")).join("");
