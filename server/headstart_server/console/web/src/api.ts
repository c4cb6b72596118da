// Calls of the public HTTP API. The token lives in this module only: it is gone after a reload.

import { Store } from "./store";

let token = "";

/** Whether the last call got a response. */
export const isReachable = new Store(true);

let onLocked = (): void => undefined;

/** Call a listener when the server rejects the token of a call. */
export function whenLocked(listener: () => void): void {
  onLocked = listener;
}

export function setToken(value: string): void {
  token = value.trim();
}

export function hasToken(): boolean {
  return token !== "";
}

/** An error response: a `google.rpc.Status`, or a lost connection. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string,
  ) {
    super(message);
  }

  get isMissing(): boolean {
    return this.status === 404;
  }

  get isUnauthenticated(): boolean {
    return this.status === 401;
  }

  get isForbidden(): boolean {
    return this.status === 403;
  }
}

export interface CallOptions {
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

type Query = Record<string, string | number | boolean | undefined | readonly string[]>;

/** Return a path with a query; undefined and empty values are left out. */
export function withQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== "") parameters.append(name, String(each));
    }
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/** Return a path of the API; each value is escaped. */
export function path(parts: TemplateStringsArray, ...values: (string | number)[]): string {
  return parts.reduce((text, part, place) => text + encodeURIComponent(String(values[place - 1] ?? "")) + part);
}

function headersOf(options: CallOptions): Record<string, string> {
  return token ? { authorization: `Bearer ${token}`, ...options.headers } : { ...options.headers };
}

async function send(verb: string, target: string, body: BodyInit | undefined, options: CallOptions): Promise<Response> {
  try {
    const response = await fetch(target, {
      method: verb,
      headers: headersOf(options),
      body,
      signal: options.signal,
      credentials: "omit",
      cache: verb === "GET" ? "default" : "no-store",
    });
    isReachable.set(true);
    return response;
  } catch (error) {
    throw lost(error);
  }
}

/** Return the error of a connection that is lost, or the error of an aborted call itself. */
function lost(error: unknown): unknown {
  if (error instanceof DOMException && error.name === "AbortError") return error;
  isReachable.set(false);
  return new ApiError("The server does not answer. Check that it is running.", 0, "UNREACHABLE");
}

/** Return the error of a response. */
export function errorOf(status: number, text: string): ApiError {
  if (status === 401) onLocked();
  try {
    const document = JSON.parse(text);
    const reason = document.details?.find((each: { reason?: string }) => each.reason)?.reason ?? "";
    return new ApiError(document.message || `The server answered ${status}.`, status, reason);
  } catch {
    return new ApiError(`The server answered ${status}.`, status, "");
  }
}

async function checked(response: Response): Promise<Response> {
  if (!response.ok) throw errorOf(response.status, await response.text());
  return response;
}

/** Return the message of a response. */
function messageOf<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError("The response is not one of Headstart. Check the proxy between this page and the server.", 0, "");
  }
}

const received = async <T,>(response: Response): Promise<T> =>
  messageOf<T>(
    await response.text().catch((error: unknown) => {
      throw lost(error);
    }),
  );

/** Send a message as JSON, and return the response. */
export async function call<T>(verb: string, target: string, body?: unknown, options: CallOptions = {}): Promise<T> {
  const headers = body === undefined ? options.headers : { "content-type": "application/json", ...options.headers };
  const text = body === undefined ? undefined : JSON.stringify(body);
  return received<T>(await checked(await send(verb, target, text, { ...options, headers })));
}

export const get = <T,>(target: string, options?: CallOptions): Promise<T> => call<T>("GET", target, undefined, options);

/** Send a form or raw bytes, and return the response. */
export async function post<T>(target: string, body: BodyInit, options: CallOptions = {}): Promise<T> {
  return received<T>(await checked(await send("POST", target, body, options)));
}

/** Return the content at a path. */
export async function content(target: string, options: CallOptions = {}): Promise<Blob> {
  return (await checked(await send("GET", target, undefined, options))).blob();
}

/** Upload a body, and report the sent fraction; fetch cannot do that. */
export function upload<T>(
  target: string,
  body: FormData | Blob | string,
  options: CallOptions & { onProgress?: (fraction: number) => void } = {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", target);
    for (const [name, value] of Object.entries(headersOf(options))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && options.onProgress?.(event.loaded / event.total);
    request.onload = () => {
      try {
        if (request.status !== 200) throw errorOf(request.status, request.responseText);
        resolve(messageOf<T>(request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    request.onerror = () =>
      reject(new ApiError("The connection was lost while uploading. Try again.", 0, "UNREACHABLE"));
    request.onabort = () => reject(new DOMException("Aborted", "AbortError"));
    options.signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** Yield the data of server-sent events, until the stream ends. */
export async function* events<T>(target: string, options: CallOptions = {}): AsyncGenerator<{ id: string; data: T }> {
  const response = await checked(await send("GET", target, undefined, options));
  if (response.status === 204 || !response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
        const find = (name: string) => fields.find((field) => field[0] === name)?.[1] ?? "";
        if (find("event") === "error") throw errorOf(500, find("data"));
        if (find("data")) yield { id: find("id"), data: JSON.parse(find("data")) as T };
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Return all entries of a list with pages. */
export async function all<T>(target: string, name: string, most = 1000, options: CallOptions = {}): Promise<T[]> {
  const found: T[] = [];
  let page = "";
  do {
    const response = await get<Record<string, unknown>>(
      withQuery(target, { pageSize: Math.min(most, 1000), pageToken: page }),
      options,
    );
    found.push(...((response[name] as T[] | undefined) ?? []));
    page = (response.nextPageToken as string | undefined) ?? "";
  } while (page && found.length < most);
  return found;
}
