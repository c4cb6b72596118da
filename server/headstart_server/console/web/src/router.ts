// Pages without hashes: the path names the view, and the query its version or filter.

import { useEffect, useState } from "preact/hooks";

export interface Place {
  path: string[];
  query: URLSearchParams;
}

const listeners = new Set<() => void>();

function current(): Place {
  const path = location.pathname.split("/").filter(Boolean).map(decoded);
  return { path, query: new URLSearchParams(location.search) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the path of a page of a model. */
export function modelPath(model: string, view = "try", query: Record<string, string | undefined> = {}): string {
  const entries = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const text = new URLSearchParams(entries).toString();
  return `/models/${encodeURIComponent(model)}/${view}${text ? `?${text}` : ""}`;
}

/** Go to a page. */
export function navigate(target: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  for (const each of listeners) each();
}

/** Change parts of the query of the page; an empty value removes a part. */
export function setQuery(changes: Record<string, string>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  navigate(text ? `${location.pathname}?${text}` : location.pathname, { replace: true });
}

/** Follow links to pages of the console without loading them again. */
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element).closest?.("a");
    if (!link || link.target || link.origin !== location.origin || link.dataset.outside !== undefined) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
    document.querySelector("main")?.scrollTo(0, 0);
    window.scrollTo(0, 0);
  });
  addEventListener("popstate", () => {
    for (const each of listeners) each();
  });
}

/** Return the page that is open. */
export function usePlace(): Place {
  const [place, setPlace] = useState(current);
  useEffect(() => {
    const listener = () => setPlace(current());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return place;
}
