// Who the caller is, what it may do, and what the server offers.

import { ApiError, all, get, hasToken, setToken, whenLocked } from "./api";
import { Store } from "./store";
import type { Backbone, Caller, Model, Right, ServerInfo } from "./types";

export interface Session {
  state: "loading" | "ready" | "locked" | "lost";
  caller?: Caller;
  info?: ServerInfo;
  backbones: Backbone[];
  error?: string;
}

export const session = new Store<Session>({ state: "loading", backbones: [] });
export const models = new Store<Model[] | undefined>(undefined);

/** The last caller that entered; it stays while a token is requested again. Modules drop what they keep when it changes. */
export const owner = new Store("");
owner.subscribe(() => models.set(undefined));

/** Load the session; `locked` means that the server needs a token. */
export async function openSession(): Promise<void> {
  try {
    const { caller } = await get<{ caller: Caller }>("/v1/whoami");
    owner.set(JSON.stringify([caller.tenant, caller.principal, caller.subject]));
    const [server, backbones] = await Promise.all([
      unlessForbidden(get<{ info: ServerInfo }>("/v1/server"), undefined),
      unlessForbidden(all<Backbone>("/v1/backbones", "backbones"), []),
      unlessForbidden(loadModels(), undefined),
    ]);
    session.set({ state: "ready", caller, info: server?.info, backbones });
  } catch (error) {
    const isLocked = error instanceof ApiError && error.isUnauthenticated;
    const message = error instanceof Error ? error.message : String(error);
    session.set({ state: isLocked ? "locked" : "lost", backbones: [], error: isLocked && !hasToken() ? undefined : message });
  }
}

/** Return the result of a call, or another value if the caller may not call it. */
const unlessForbidden = <T,>(call: Promise<T>, other: T): Promise<T> =>
  call.catch((error: unknown) => {
    if (error instanceof ApiError && error.isForbidden) return other;
    throw error;
  });

whenLocked(() => {
  if (session.value.state !== "ready") return;
  const error = hasToken() ? "The server no longer accepts the token. Enter another one." : undefined;
  setToken("");
  session.set({ state: "locked", backbones: [], error });
});

export async function loadModels(): Promise<void> {
  const listing = owner.value;
  const found = await all<Model>("/v1/models", "models", 5000);
  if (owner.value === listing) models.set(found);
}

/** Use a token; the session holds the error, if the server rejects it. */
export async function unlock(token: string): Promise<void> {
  setToken(token);
  models.set(undefined);
  await openSession();
  if (session.value.state !== "ready") setToken("");
}

export function lock(): void {
  setToken("");
  models.set(undefined);
  session.set({ state: "loading", backbones: [] });
  void openSession();
}

/** Return whether the caller has a right on a model, or on any model. */
export function may(caller: Caller | undefined, right: Right, model?: string): boolean {
  if (!caller) return false;
  if (!caller.authenticated) return true;
  return caller.permissions.some(
    (each) => each.rights.includes(right) && (model === undefined || each.models.some((name) => matches(name, model))),
  );
}

const matches = (pattern: string, model: string): boolean =>
  pattern.endsWith("*") ? model.startsWith(pattern.slice(0, -1)) : pattern === model;

/** How to measure what needs a sample of the inputs; empty if the server takes one. */
export const howToSample = (info: ServerInfo | undefined): string =>
  info && !info.features.includes("FEATURE_MONITORING") ? "Start the server with --monitor-sample-rate 10% to measure it." : "";

/** Return the modality of a backbone; rows of numbers have no listed backbone. */
export function modalityOf(backbones: Backbone[], name: string): "image" | "text" | "numbers" {
  const found = backbones.find((each) => each.backbone === name)?.modality;
  if (found === "MODALITY_TEXT") return "text";
  return found === "MODALITY_TENSOR" || name.startsWith("features:") ? "numbers" : "image";
}
