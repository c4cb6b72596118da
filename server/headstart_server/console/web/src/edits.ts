// Changes of the examples of a version, until a new version learns them. They stay while other pages are open.

import { call, path } from "./api";
import { Store } from "./store";
import { failureOf, followJob } from "./jobs";
import { owner } from "./session";
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
owner.subscribe(() => stores.clear());

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

/** Return whether a reload would lose changes. */
export const hasChanges = (): boolean => [...stores.values()].some((each) => changesOf(each.value).length);

/** The changes that a job learns now, also while other pages are open. */
export const learning = new Store<ReadonlySet<Store<Edits>>>(new Set());

/** Fine-tune a version with its changed examples; return the new version. Nothing is uploaded. */
export async function retrain(model: string, version: string): Promise<string> {
  const store = editsOf(model, version);
  const sent = store.value;
  learning.update((old) => new Set(old).add(store));
  try {
    const spec = { parentVersion: version, edits: changesOf(sent).map(({ index, label, remove }) => ({ index, label, remove })) };
    const { job } = await call<{ job: Job }>("POST", path`/v1/models/${model}:fineTune`, { spec });
    const ended = await followJob(job.jobId, () => undefined, new AbortController().signal);
    if (ended.version === undefined) throw new Error(failureOf(ended));
    // Later changes stay.
    store.update((old) => new Map([...old].filter(([index, edit]) => sent.get(index) !== edit)));
    return ended.version;
  } finally {
    learning.update((old) => new Set([...old].filter((each) => each !== store)));
  }
}
