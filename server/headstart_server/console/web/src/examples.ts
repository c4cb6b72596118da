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

/** Examples of a page: few when the list is opened or scrolled, many on the way to a far place. */
const PAGE = 300;
const FAR_PAGE = 1000;

/** Return the path of the content of an example. */
export function contentPath(model: string, version: string, index: string, thumbnailSize?: number): string {
  return withQuery(path`/v1/models/${model}/versions/${version}/examples:content`, { index, thumbnailSize });
}

export interface ExampleList {
  records: readonly ExampleRecord[];
  total: number | undefined;
  error?: ApiError;
  /** Load until this many are here. */
  need: (count: number) => void;
}

/** List the examples of a version that pass a filter. */
export function useExamples(model: string, version: string, query: ExampleQuery): ExampleList {
  const [state, setState] = useState<{ records: ExampleRecord[]; total?: number; error?: ApiError }>({ records: [] });
  const run = useRef<{ wanted: number; isRunning: boolean; load: () => Promise<void> } | undefined>(undefined);
  const key = JSON.stringify([model, version, query]);
  useEffect(() => {
    const controller = new AbortController();
    let records: ExampleRecord[] = [];
    let token = "";
    let isWhole = false;
    const load = async () => {
      if (own.isRunning) return;
      own.isRunning = true;
      try {
        while (!isWhole && records.length < own.wanted) {
          const target = withQuery(path`/v1/models/${model}/versions/${version}/examples`, {
            pageSize: own.wanted - records.length > FAR_PAGE ? FAR_PAGE : PAGE,
            pageToken: token,
            orderBy: query.order,
            "filter.issue": query.issue,
            "filter.label": query.label,
            "filter.predictedLabel": query.predicted,
            "filter.exampleIdPrefix": query.prefix,
          });
          const page = await get<{ examples: ExampleRecord[]; nextPageToken: string; exampleCount: string }>(target, {
            signal: controller.signal,
          });
          records = records.concat(page.examples);
          token = page.nextPageToken;
          isWhole = !token;
          setState({ records, total: Number(page.exampleCount) });
        }
      } catch (error) {
        if (!controller.signal.aborted && error instanceof ApiError) setState({ records, total: records.length, error });
      }
      own.isRunning = false;
    };
    const own = { wanted: 1, isRunning: false, load };
    run.current = own;
    setState({ records: [] });
    void load();
    return () => controller.abort();
  }, [key]);
  const need = useCallback((count: number) => {
    const current = run.current;
    if (current && count > current.wanted) {
      current.wanted = count;
      void current.load();
    }
  }, []);
  return { records: state.records, total: state.total, error: state.error, need };
}
