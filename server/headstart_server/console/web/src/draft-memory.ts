// Unsent examples in the browser, so that a reload does not lose them. Each tab has a draft; it goes when the examples
// are sent or removed, or after a day.

import type { Draft, Item } from "./draft";

const NAME = "headstart-drafts";
const DAY_MS = 86_400_000;
const DELAY_MS = 200;

type Kept = Pick<Draft, "model" | "mode" | "uri" | "parent" | "isStable" | "file"> & {
  tab: string;
  owner: string;
  time: number;
  classes: { id: number; name: string; lines: string; items: { id: number; name: string }[] }[];
};
type Restored = Pick<Draft, "model" | "mode" | "uri" | "parent" | "isStable" | "file" | "classes">;

/** Return the name of the tab, which stays over reloads. */
function tabName(): string {
  const known = sessionStorage.getItem(NAME);
  if (known) return known;
  const made = crypto.getRandomValues(new Uint32Array(4)).join("-");
  sessionStorage.setItem(NAME, made);
  return made;
}

const done = <T,>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let opened: Promise<IDBDatabase> | undefined;

function database(): Promise<IDBDatabase> {
  if (!opened) {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("drafts", { keyPath: "tab" });
      request.result.createObjectStore("items", { keyPath: ["tab", "id"] });
    };
    opened = done(request);
  }
  return opened;
}

const itemsOf = (tab: string) => IDBKeyRange.bound([tab], [tab, []]);

// Contents that are stored already; they never change.
const stored = new Set<number>();
let timer: ReturnType<typeof setTimeout> | undefined;
let last: Promise<void> = Promise.resolve();

/** Return the draft of the tab, and remove it if it has another owner. Some private windows have no storage, so no draft. */
export async function read(owner: string): Promise<Restored | undefined> {
  try {
    await last;
    await removeOld();
    const tab = tabName();
    const transaction = (await database()).transaction(["drafts", "items"]);
    const [draft, items] = await Promise.all([
      done<Kept | undefined>(transaction.objectStore("drafts").get(tab)),
      done<(Item & { tab: string })[]>(transaction.objectStore("items").getAll(itemsOf(tab))),
    ]);
    if (!draft) return undefined;
    if (draft.owner !== owner) {
      await remove(tab);
      return undefined;
    }
    const blobs = new Map(items.map((each) => [each.id, each.blob]));
    for (const id of blobs.keys()) stored.add(id);
    const classes = draft.classes.map((each) => ({
      ...each,
      items: each.items.flatMap(({ id, name }) => {
        const blob = blobs.get(id);
        return blob ? [{ id, name, blob }] : [];
      }),
    }));
    const { model, mode, uri, parent, isStable, file } = draft;
    return { model, mode, uri, parent, isStable, file, classes };
  } catch {
    return undefined;
  }
}

/** Store a draft soon; later changes replace it. */
export function remember(draft: Draft, owner: string): void {
  clearTimeout(timer);
  timer = setTimeout(() => (last = last.then(() => write(draft, owner)).catch(() => undefined)), DELAY_MS);
}

/** Remove the draft of the tab. */
export function forget(): void {
  clearTimeout(timer);
  last = last.then(() => remove(tabName())).catch(() => undefined);
}

async function write(draft: Draft, owner: string): Promise<void> {
  const tab = tabName();
  const transaction = (await database()).transaction(["drafts", "items"], "readwrite");
  const items = transaction.objectStore("items");
  const wanted = new Map(draft.classes.flatMap((each) => each.items.map((item) => [item.id, item] as const)));
  const added = [...wanted.values()].filter((each) => !stored.has(each.id));
  const gone = [...stored].filter((id) => !wanted.has(id));
  for (const { id, blob } of added) items.put({ tab, id, blob });
  for (const id of gone) items.delete([tab, id]);
  const { model, mode, uri, parent, isStable, file } = draft;
  const classes = draft.classes.map((each) => ({ ...each, items: each.items.map(({ id, name }) => ({ id, name })) }));
  const kept: Kept = { tab, owner, time: Date.now(), model, mode, uri, parent, isStable, file, classes };
  await done(transaction.objectStore("drafts").put(kept));
  for (const { id } of added) stored.add(id);
  for (const id of gone) stored.delete(id);
}

async function remove(tab: string): Promise<void> {
  const transaction = (await database()).transaction(["drafts", "items"], "readwrite");
  transaction.objectStore("items").delete(itemsOf(tab));
  await done(transaction.objectStore("drafts").delete(tab));
  stored.clear();
}

async function removeOld(): Promise<void> {
  const transaction = (await database()).transaction("drafts");
  const drafts = await done<Kept[]>(transaction.objectStore("drafts").getAll());
  for (const each of drafts) if (each.time < Date.now() - DAY_MS && each.tab !== tabName()) await remove(each.tab);
}
