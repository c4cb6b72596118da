// Live jobs: one stream for all views, which continues after the last event when the connection is lost.

import { ApiError, events, get, path, withQuery } from "./api";
import { loadModels } from "./session";
import { Store } from "./store";
import type { Job, JobEvent } from "./types";

export const liveJobs = new Store<ReadonlyMap<string, JobEvent>>(new Map());
const endListeners = new Set<(event: JobEvent) => void>();

export const isEnded = (state: string): boolean => !/QUEUED|RUNNING/.test(state);

/** Call a listener when a job ends; return a function that stops it. */
export function onJobEnd(listener: (event: JobEvent) => void): () => void {
  endListeners.add(listener);
  return () => void endListeners.delete(listener);
}

/** Follow the jobs of all models that the caller may see; return a function that stops it. */
export function watchJobs(): () => void {
  const controller = new AbortController();
  void follow(controller.signal);
  return () => {
    controller.abort();
    liveJobs.set(new Map());
  };
}

async function follow(signal: AbortSignal): Promise<void> {
  let token = "";
  while (!signal.aborted) {
    try {
      const target = withQuery("/v1/jobs:watch", { resumeToken: token });
      for await (const { id, data } of events<JobEvent>(target, { signal })) {
        token = id || token;
        noteEvent(data);
      }
    } catch (error) {
      if (error instanceof ApiError && [400, 401, 403].includes(error.status)) {
        if (error.status !== 400 || !token) return;
        token = "";
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function noteEvent(event: JobEvent): void {
  const before = liveJobs.value.get(event.jobId);
  if (before && Number(before.number) >= Number(event.number)) return;
  liveJobs.update((jobs) => new Map(jobs).set(event.jobId, event));
  if (isEnded(event.state)) {
    void loadModels().catch(() => undefined);
    for (const each of endListeners) each(event);
  }
}

/** Follow one job until it has ended, and return it. */
export async function followJob(jobId: string, onEvent: (event: JobEvent) => void, signal: AbortSignal): Promise<Job> {
  let last = "0";
  for (;;) {
    try {
      const target = withQuery(path`/v1/jobs/${jobId}/events`, { afterEvent: last });
      for await (const { data } of events<JobEvent>(target, { signal })) {
        last = data.number;
        onEvent(data);
      }
      const { job } = await get<{ job: Job }>(path`/v1/jobs/${jobId}`, { signal });
      if (isEnded(job.state)) return job;
    } catch (error) {
      if (signal.aborted || (error instanceof ApiError && error.status >= 400 && error.status < 500)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Return why an ended job has no version. */
export const failureOf = (job: Job): string | undefined =>
  job.error?.message ?? (job.state === "JOB_STATE_CANCELLED" ? "The training was cancelled." : undefined);

const STEPS: Record<string, string> = {
  JOB_STEP_SELECT_BACKBONE: "Selecting the backbone",
  JOB_STEP_FEATURES: "Reading the examples",
  JOB_STEP_FIT: "Fitting the head",
  JOB_STEP_EVALUATE: "Measuring the accuracy",
  JOB_STEP_PUBLISH: "Publishing the version",
};

export const stepText = (step: string | undefined): string => STEPS[step ?? ""] ?? "Waiting for a worker";
