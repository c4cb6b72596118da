// The examples of a version, page after page as the list is scrolled.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { ApiError, get, path, withQuery } from "./api";
import type { ExampleReference, Label } from "./types";

export interface ExampleRecord {
  example: ExampleReference;
  predictedLabel?: Label;
  labelProbability?: number;
  predictedProbability?: number;
  findings: { issue: string; suggestedLabel?: Label }[];
  heldOut: boolean;
  hasContent: boolean;
  origin: string;
}

export interface ExampleQuery {
  issue: string;
  label: string;
  predicted: string;
  prefix: string;
  order: string;
}

/** Examples that are loaded at once. */
const PAGE = 300;

/** Return the path of the content of an example. */
export function contentPath(model: string, version: string, index: string, thumbnailSize?: number): string {
  return withQuery(path`/v1/models/${model}/versions/${version}/examples:content`, { index, thumbnailSize });
}

export interface ExampleList {
  /** The examples by their place; those that are not loaded yet are missing. */
  records: readonly (ExampleRecord | undefined)[];
  total: number | undefined;
  error?: ApiError;
  /** Load the examples from one place to before another one. */
  need: (first: number, end: number) => void;
  /** Load what is still missing, after an error. */
  retry: () => void;
}

/** Return the path of a page of examples that pass a filter, from a place on. */
function pagePath(model: string, version: string, query: ExampleQuery, skip: number, pageSize: number): string {
  return withQuery(path`/v1/models/${model}/versions/${version}/examples`, {
    pageSize,
    skip: skip || undefined,
    orderBy: query.order,
    "filter.issue": query.issue,
    "filter.label": query.label,
    "filter.predictedLabel": query.predicted,
    "filter.exampleIdPrefix": query.prefix,
  });
}

interface ExamplePage {
  examples: ExampleRecord[];
  exampleCount: string;
}

/** Return an example by its index. */
export async function exampleAt(model: string, version: string, index: number, signal: AbortSignal): Promise<ExampleRecord | undefined> {
  const all = { issue: "", label: "", predicted: "", prefix: "", order: "index" };
  return (await get<ExamplePage>(pagePath(model, version, all, index, 1), { signal })).examples[0];
}

/** List the examples of a version that pass a filter. Only the pages that are seen are loaded, the newest wish first. */
export function useExamples(model: string, version: string, query: ExampleQuery): ExampleList {
  const [state, setState] = useState<{ records: (ExampleRecord | undefined)[]; total?: number; error?: ApiError }>({ records: [] });
  const run = useRef<((first?: number, end?: number) => void) | undefined>(undefined);
  const key = JSON.stringify([model, version, query]);
  useEffect(() => {
    const controller = new AbortController();
    const records: (ExampleRecord | undefined)[] = [];
    let total: number | undefined;
    let wanted = { first: 0, end: 1 };
    let isRunning = false;
    const firstMissing = (): number | undefined => {
      for (let place = wanted.first; place < Math.min(wanted.end, total ?? 1); place++) if (!records[place]) return place;
      return undefined;
    };
    const load = async () => {
      if (isRunning) return;
      isRunning = true;
      try {
        for (let place = firstMissing(); place !== undefined; place = firstMissing()) {
          const page = await get<ExamplePage>(pagePath(model, version, query, place, PAGE), { signal: controller.signal });
          total = Number(page.exampleCount);
          page.examples.forEach((each, offset) => (records[(place as number) + offset] = each));
          setState({ records: records.slice(), total });
          if (!page.examples.length) break;
        }
      } catch (error) {
        if (!controller.signal.aborted && error instanceof ApiError) setState({ records: records.slice(), total, error });
      }
      isRunning = false;
    };
    run.current = (first = wanted.first, end = wanted.end) => {
      wanted = { first, end };
      void load();
    };
    setState({ records: [] });
    void load();
    return () => controller.abort();
  }, [key]);
  const need = useCallback((first: number, end: number) => run.current?.(first, end), []);
  const retry = useCallback(() => run.current?.(), []);
  return { records: state.records, total: state.total, error: state.error, need, retry };
}
