// Changes of the examples of a version, until a new version learns them. They stay while other pages are open.

import { call, path } from "./api";
import { Store } from "./store";
import type { Job, Label } from "./types";

export interface Edit {
  index: string;
  label?: Label;
  remove?: boolean;
  /** Whether the example was looked at and left as it is; this is not sent. */
  isKept?: boolean;
}

export type Edits = ReadonlyMap<string, Edit>;

const stores = new Map<string, Store<Edits>>();

export function editsOf(model: string, version: string): Store<Edits> {
  const key = JSON.stringify([model, version]);
  const found = stores.get(key) ?? new Store<Edits>(new Map());
  stores.set(key, found);
  return found;
}

export function setEdit(store: Store<Edits>, index: string, edit: Omit<Edit, "index"> | undefined): void {
  store.update((old) => {
    const edits = new Map(old);
    if (edit) edits.set(index, { index, ...edit });
    else edits.delete(index);
    return edits;
  });
}

export const changesOf = (edits: Edits): Edit[] => [...edits.values()].filter((each) => !each.isKept);

/** Fine-tune a version with its changed examples; nothing is uploaded. */
export async function retrain(model: string, version: string, edits: Edits): Promise<Job> {
  const spec = { parentVersion: version, edits: changesOf(edits).map(({ index, label, remove }) => ({ index, label, remove })) };
  return (await call<{ job: Job }>("POST", path`/v1/models/${model}:fineTune`, { spec })).job;
}
