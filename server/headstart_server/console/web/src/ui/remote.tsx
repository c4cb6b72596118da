// Thumbnails and texts of examples. They come with the token in a header, a few at a time, the newest first.

import { useEffect, useState } from "preact/hooks";

import { ApiError, content } from "../api";
import { owner } from "../session";

const CONCURRENT = 6;
const KEPT = 800;

/** Content, or why it is missing. */
type Loaded = { url?: string; text?: string; problem?: string };

interface Waiting {
  target: string;
  isText: boolean;
  done: ((value: Loaded) => void)[];
}

const kept = new Map<string, Loaded>();
const waiting = new Map<string, Waiting>();
let running = 0;

owner.subscribe(() => {
  for (const { url } of kept.values()) if (url) URL.revokeObjectURL(url);
  kept.clear();
  waiting.clear();
});

function keep(target: string, value: Loaded): void {
  kept.set(target, value);
  for (const [oldest, old] of kept) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
    if (old.url) URL.revokeObjectURL(old.url);
  }
}

async function next(): Promise<void> {
  if (running >= CONCURRENT) return;
  const newest = [...waiting.values()].at(-1);
  if (!newest) return;
  waiting.delete(newest.target);
  running++;
  let value: Loaded;
  const reader = owner.value;
  try {
    const blob = await content(newest.target);
    if (owner.value !== reader) throw new Error("Another caller uses the page.");
    value = newest.isText ? { text: await blob.text() } : { url: URL.createObjectURL(blob) };
    keep(newest.target, value);
  } catch (error) {
    value = { problem: error instanceof ApiError && error.isMissing ? "not stored" : "not loaded" };
  }
  running--;
  for (const each of newest.done) each(value);
  void next();
}

/** Load the content at a path; nothing is loaded for an empty path, or once the component is gone. */
function useContent(target: string, isText: boolean): Loaded {
  const [state, setState] = useState<{ target: string; value: Loaded }>({ target: "", value: {} });
  useEffect(() => {
    if (!target) return;
    const known = kept.get(target);
    if (known) {
      // The newest use is kept longest.
      kept.delete(target);
      kept.set(target, known);
      setState({ target, value: known });
      return;
    }
    const done = (value: Loaded) => setState({ target, value });
    const entry = waiting.get(target) ?? { target, isText, done: [] };
    entry.done.push(done);
    waiting.set(target, entry);
    void next();
    return () => {
      entry.done = entry.done.filter((each) => each !== done);
      if (!entry.done.length) waiting.delete(target);
    };
  }, [target]);
  return state.target === target ? state.value : (kept.get(target) ?? {});
}

/** The thumbnail or the text of an example. */
export function Remote({ target, kind, alt }: { target: string; kind: "image" | "text" | "numbers"; alt: string }) {
  const { url, text, problem } = useContent(target, kind !== "image");
  if (problem || !target) return <span class="remote-missing">{problem ?? "not stored"}</span>;
  if (kind !== "image") return <span class="remote-text">{text?.slice(0, 400)}</span>;
  return url ? <img src={url} alt={alt} draggable={false} /> : <span class="remote-wait" />;
}
