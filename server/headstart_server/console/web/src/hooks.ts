import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { ApiError, isReachable } from "./api";

export interface Loaded<T> {
  data?: T;
  error?: ApiError;
  /** Whether nothing is there yet, after 300 ms: shorter waits show nothing. */
  isSlow: boolean;
  reload: () => void;
}

/** Load data for the keys; keep the previous data while the same keys load again. */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, keys: readonly unknown[], everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ data?: T; error?: ApiError; isSlow: boolean }>({ isSlow: false });
  const [turn, setTurn] = useState(0);
  const lastKeys = useRef("");
  const key = JSON.stringify(keys);
  useEffect(() => {
    const controller = new AbortController();
    if (lastKeys.current !== key) setState({ isSlow: false });
    lastKeys.current = key;
    const slow = setTimeout(() => setState((old) => (old.data || old.error ? old : { ...old, isSlow: true })), 300);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const run = async () => {
      try {
        const data = await load(controller.signal);
        if (!controller.signal.aborted) setState({ data, isSlow: false });
      } catch (error) {
        if (controller.signal.aborted) return;
        const shown = error instanceof ApiError ? error : new ApiError(String(error), 0, "");
        setState((old) => ({ data: old.data, error: shown, isSlow: false }));
      }
      clearTimeout(slow);
      if (everyMs && !controller.signal.aborted) timer = setTimeout(again, everyMs);
    };
    // A hidden page asks for nothing.
    const again = () => void (document.hidden ? (timer = setTimeout(again, everyMs)) : run());
    void run();
    return () => {
      controller.abort();
      clearTimeout(slow);
      clearTimeout(timer);
    };
  }, [key, turn, everyMs]);
  const reload = useCallback(() => setTurn((old) => old + 1), []);
  const isLost = state.error?.reason === "UNREACHABLE";
  useEffect(() => (isLost ? isReachable.subscribe((isBack) => isBack && reload()) : undefined), [isLost]);
  return { ...state, reload };
}

/** Return whether something lasts for more than 300 ms: shorter waits show nothing. */
export function useLate(isWaiting: boolean): boolean {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    if (!isWaiting) return;
    const timer = setTimeout(() => setLate(true), 300);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [isWaiting]);
  return isWaiting && isLate;
}

/** Set the title of the page. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} – Headstart` : "Headstart";
  }, [title]);
}

/** Call a listener of keys on the page, except while a text is entered. */
export function useKeys(listener: (event: KeyboardEvent) => void): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const handle = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const isText = target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName);
      const isField = target instanceof HTMLInputElement && !/^(checkbox|radio|range|button)$/.test(target.type);
      if (isText || isField || document.querySelector("dialog[open]")) return;
      latest.current(event);
    };
    addEventListener("keydown", handle);
    return () => removeEventListener("keydown", handle);
  }, []);
}

/** Return the URL of a blob; it is freed when the component or the blob goes. */
export function useBlobUrl(blob: Blob | undefined): string | undefined {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    if (!blob) {
      setUrl(undefined);
      return;
    }
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url;
}

/** Run an action once at a time, and keep its error. */
export function useAction<A extends unknown[]>(
  action: (...values: A) => Promise<void>,
): { run: (...values: A) => Promise<void>; isRunning: boolean; error?: string } {
  const [state, setState] = useState<{ isRunning: boolean; error?: string }>({ isRunning: false });
  const run = async (...values: A) => {
    setState({ isRunning: true });
    try {
      await action(...values);
      setState({ isRunning: false });
    } catch (error) {
      setState({ isRunning: false, error: error instanceof Error ? error.message : String(error) });
    }
  };
  return { run, ...state };
}
