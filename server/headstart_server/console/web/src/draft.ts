// The examples of a new model, until they are sent. They stay while other pages are open.

import { path, upload, withQuery } from "./api";
import { base64, type Found, tableType } from "./files";
import { forget, read, remember } from "./draft-memory";
import { owner } from "./session";
import { Store } from "./store";
import type { Job, JobEvent, Validation } from "./types";

export type Mode = "images" | "texts" | "file" | "uri";

export interface Item {
  id: number;
  name: string;
  blob: Blob;
}

export interface DraftClass {
  id: number;
  name: string;
  items: readonly Item[];
  /** Texts, one a line. */
  lines: string;
}

export interface Draft {
  model: string;
  mode: Mode;
  classes: readonly DraftClass[];
  file?: File;
  uri: string;
  /** Version whose examples are trained on, too. */
  parent?: string;
  isStable: boolean;
  check?: { isRunning: boolean; validation?: Validation; error?: string };
  training?: { uploaded: number; event?: JobEvent; job?: Job; error?: string };
}

let lastId = 0;

export const newClass = (name: string): DraftClass => ({ id: ++lastId, name, items: [], lines: "" });

export const emptyDraft = (): Draft => ({
  model: "",
  mode: "images",
  classes: [newClass("Class 1"), newClass("Class 2")],
  uri: "",
  isStable: true,
});

export const draft = new Store<Draft>(emptyDraft());

let isKept = false;

/** Bring back the examples that the caller had not sent before a reload, and keep the following ones. */
export function keepDraft(): void {
  owner.subscribe((caller) => {
    draft.set(emptyDraft());
    void restore(caller);
  });
}

async function restore(caller: string): Promise<void> {
  const before = await read(caller);
  if (before && isMeant(before) && !draft.value.file && draft.value.classes.every((each) => !each.items.length && !each.lines)) {
    const items = before.classes.flatMap((each) => [each.id, ...each.items.map((item) => item.id)]);
    lastId = items.reduce((most, each) => Math.max(most, each), lastId);
    draft.set({ ...emptyDraft(), ...before });
  }
  if (isKept) return;
  isKept = true;
  draft.subscribe((value) => {
    const isSent = value.training?.job && !value.training.error;
    if ((exampleCount(value) || value.file) && !isSent) remember(value, owner.value);
    else forget();
  });
}

/** The page for examples of another model shows its own draft. */
function isMeant({ model, parent = "" }: Pick<Draft, "model" | "parent">): boolean {
  if (location.pathname !== "/new") return true;
  const query = new URLSearchParams(location.search);
  return (query.get("parent") ?? "") === parent && (query.get("model") ?? model) === model;
}

export function change(changes: Partial<Draft>): void {
  draft.update((old) => ({ ...old, ...changes }));
}

export function changeClass(id: number, edit: (old: DraftClass) => DraftClass): void {
  draft.update((old) => ({ ...old, classes: old.classes.map((each) => (each.id === id ? edit(each) : each)) }));
}

export const itemOf = (name: string, blob: Blob): Item => ({ id: ++lastId, name, blob });

/** Add files to classes by name; classes without examples and with their first name make way. */
export function addFiles(groups: ReadonlyMap<string, readonly Found[]>, fallback?: number): void {
  draft.update((old) => {
    const classes = [...old.classes];
    for (const [name, found] of groups) {
      const items = found.map((each) => itemOf(each.path, each.file));
      let place = classes.findIndex((each) => (name ? each.name === name : each.id === fallback));
      if (place < 0) place = classes.findIndex((each) => !each.items.length && /^Class \d+$/.test(each.name));
      if (place < 0) place = classes.push(newClass(name || `Class ${classes.length + 1}`)) - 1;
      const target = classes[place] as DraftClass;
      classes[place] = { ...target, name: name || target.name, items: [...target.items, ...items] };
    }
    return { ...old, mode: "images", classes };
  });
}

export const linesOf = (each: DraftClass): string[] => each.lines.split("\n").map((line) => line.trim()).filter(Boolean);

export function exampleCount(of: Draft): number {
  if (of.mode === "texts") return of.classes.reduce((sum, each) => sum + linesOf(each).length, 0);
  return of.classes.reduce((sum, each) => sum + each.items.length, 0);
}

/** Return why a draft cannot be sent yet; empty if it can. */
export function missing(of: Draft): string {
  if (of.mode === "uri") return of.uri.trim() ? "" : "Enter the URI of a manifest.";
  if (of.mode === "file") return of.file ? "" : "Choose a ZIP, CSV or JSONL file.";
  const filled = of.classes.filter((each) => (of.mode === "texts" ? linesOf(each).length : each.items.length));
  if (filled.some((each) => !each.name.trim())) return "Give each class a name.";
  if (new Set(filled.map((each) => each.name.trim())).size < filled.length) return "Give each class another name.";
  return filled.length >= (of.parent ? 1 : 2) ? "" : "Add examples of two classes.";
}

/** Return the bytes that sending a draft takes. */
export function sizeOf(of: Draft): number {
  if (of.mode === "file") return of.file?.size ?? 0;
  return of.classes.reduce((sum, each) => sum + each.lines.length + each.items.reduce((all, item) => all + item.blob.size, 0), 0);
}

/** Return the body of a draft, and its media type if the browser does not set it. */
async function bodyOf(of: Draft, spec: object): Promise<{ body: FormData | Blob | string; type?: string }> {
  if (of.mode === "uri") return { body: JSON.stringify({ spec: { ...spec, datasetUri: of.uri.trim() } }), type: "application/json" };
  if (of.mode === "file" && of.file) return { body: of.file, type: tableType(of.file) };
  const classes = of.classes.map((each) => ({ ...each, name: each.name.trim() }));
  if (of.mode === "texts") {
    const rows = classes.flatMap((each) => linesOf(each).map((text) => ({ text, label: each.name })));
    return { body: [{ spec }, ...rows].map((each) => JSON.stringify(each)).join("\n"), type: "application/jsonl" };
  }
  // Forms have no way to send a quote in a name.
  if (classes.some((each) => each.name.includes('"') || each.items.some((item) => item.name.includes('"')))) {
    const rows = await Promise.all(
      classes.flatMap((each) => each.items.map(async (item) => exampleOf(each.name, item.name, await base64(item.blob)))),
    );
    return { body: [{ spec }, ...rows].map((each) => JSON.stringify(each)).join("\n"), type: "application/jsonl" };
  }
  const form = new FormData();
  form.append("spec", JSON.stringify(spec));
  for (const each of classes) {
    for (const item of each.items) form.append(each.name, item.blob, item.name.replaceAll("/", "-"));
  }
  return { body: form };
}

const exampleOf = (className: string, name: string, image: string) => ({
  input: { image },
  label: { className },
  exampleId: `${className}/${name}`,
});

/** Send a draft as a fine-tune, or only check it. */
export async function send<T>(
  of: Draft,
  options: { validateOnly?: boolean; signal?: AbortSignal; onProgress?: (fraction: number) => void },
): Promise<T> {
  const spec = {
    ...(of.parent ? { parentVersion: of.parent } : {}),
    ...(of.isStable && !options.validateOnly ? { alias: "stable" } : {}),
    ...(options.validateOnly ? { validateOnly: true } : {}),
  };
  const { body, type } = await bodyOf(of, spec);
  const isBare = of.mode === "file";
  const target = withQuery(path`/v1/models/${of.model.trim()}:fineTune`, isBare ? { ...spec } : {});
  return upload<T>(target, body, { ...options, headers: type ? { "content-type": type } : {} });
}
