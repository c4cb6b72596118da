import { useEffect, useState } from "preact/hooks";

import { call, get, path, withQuery } from "../api";
import { ago, counted, exactTime, percent, span } from "../format";
import { useLoad, useTitle } from "../hooks";
import { isEnded, liveJobs, onJobEnd, stepText } from "../jobs";
import { modelPath } from "../router";
import { useStore } from "../store";
import type { Job, JobEvent } from "../types";
import { Badge, Button, Card, Empty, ErrorNote, PageHead, Progress, Segmented, Skeleton, type Tone } from "../ui/basics";
import { AsCode } from "../ui/code";
import { confirm } from "../ui/dialog";
import { toast } from "../ui/toasts";

const STATES: Record<string, { text: string; tone: Tone }> = {
  JOB_STATE_QUEUED: { text: "queued", tone: "neutral" },
  JOB_STATE_RUNNING: { text: "running", tone: "accent" },
  JOB_STATE_SUCCEEDED: { text: "succeeded", tone: "good" },
  JOB_STATE_FAILED: { text: "failed", tone: "bad" },
  JOB_STATE_CANCELLED: { text: "cancelled", tone: "neutral" },
};
/** Jobs of a page, and the most that a call returns. */
const PAGE = 100;
const MOST = 1000;
const FILTERS = [
  { value: "", text: "All" },
  { value: "running", text: "Running" },
  { value: "queued", text: "Queued" },
  { value: "failed", text: "Failed" },
] as const;

export function JobsPage() {
  useTitle("Jobs");
  const [filter, setFilter] = useState<(typeof FILTERS)[number]["value"]>("");
  const [most, setMost] = useState(PAGE);
  const live = useStore(liveJobs);
  const { data, error, isSlow, reload } = useLoad(
    (signal) => get<{ jobs: Job[]; nextPageToken: string }>(withQuery("/v1/jobs", { pageSize: most, states: filter }), { signal }),
    [filter, most],
  );
  useEffect(() => onJobEnd(reload), [reload]);
  const known = new Set(data?.jobs.map((each) => each.jobId));
  const isNew = [...live.values()].some((each) => !isEnded(each.state) && !known.has(each.jobId));
  useEffect(() => {
    if (data && isNew && filter !== "failed") reload();
  }, [isNew]);
  return (
    <>
      <PageHead
        title="Jobs"
        note="Each training is a job. Jobs continue when this page is closed and after a restart of the server."
        actions={
          <AsCode
            snippets={{
              python: "from headstart import Client\n\nwith Client() as client:\n    for job in client.jobs():\n        print(job, job.last_status.state)",
              cli: "headstart job list\nheadstart job watch",
              curl: `curl ${location.origin}/v1/jobs\ncurl -N ${location.origin}/v1/jobs:watch`,
            }}
          />
        }
      />
      <div class="stack">
        <Segmented label="State" value={filter} choices={FILTERS} onChange={setFilter} />
        {error && <ErrorNote error={error} retry={reload} />}
        {isSlow && <Skeleton lines={5} />}
        {data && data.jobs.length === 0 && (
          <Empty icon="jobs" title={filter ? `No ${filter} jobs` : "No jobs yet"}>
            <p>A job appears here when a training starts.</p>
          </Empty>
        )}
        {data && data.jobs.length > 0 && (
          <Card>
            <ol class="timeline">
              {data.jobs.map((each) => (
                <JobRow key={each.jobId} job={each} event={live.get(each.jobId)} onChange={reload} />
              ))}
            </ol>
            {data.nextPageToken && most < MOST && <Button onClick={() => setMost(most + PAGE)}>Show {PAGE} more</Button>}
            {data.nextPageToken && most >= MOST && <p class="hint">Only the newest {counted(MOST, "job")} are listed.</p>}
          </Card>
        )}
      </div>
    </>
  );
}

function JobRow({ job, event, onChange }: { job: Job; event: JobEvent | undefined; onChange: () => void }) {
  const state = event && !isEnded(job.state) ? event.state : job.state;
  const progress = event?.progress ?? job.progress;
  const shown = STATES[state] ?? { text: state, tone: "neutral" as Tone };
  const act = async (work: Promise<unknown>) => {
    await work.catch((error: Error) => toast(error.message, "bad"));
    onChange();
  };
  const remove = async () => {
    const text = "Its events and its error are deleted. The version that it trained stays. It cannot be undone.";
    if (await confirm(`Delete the job of ${job.spec.model}?`, text, "Delete the job")) await act(call("DELETE", path`/v1/jobs/${job.jobId}`));
  };
  const took = job.endTime && job.startTime ? (Date.parse(job.endTime) - Date.parse(job.startTime)) / 1000 : undefined;
  return (
    <li class="job">
      <div class="grow stack job-text">
        <div class="row wrap">
          <a class="strong-link" href={modelPath(job.spec.model, "versions")}>
            {job.spec.model}
          </a>
          <Badge tone={shown.tone}>{shown.text}</Badge>
          {job.version !== undefined && <span class="muted">version {job.version}</span>}
          {job.promotion?.decision === "PROMOTION_DECISION_KEPT" && (
            <Badge tone="warn" title={job.promotion.reasons.join(" ")}>
              not promoted
            </Badge>
          )}
        </div>
        <p class="hint">
          <span title={exactTime(job.createTime)}>{ago(job.createTime)}</span> · {counted(job.exampleCount, "example")}
          {took !== undefined && ` · took ${span(took)}`} · <span class="mono">{job.jobId.slice(0, 8)}</span>
        </p>
        {job.error && <ErrorNote error={job.error.message} />}
        {state === "JOB_STATE_RUNNING" && (
          <>
            <Progress fraction={progress?.fraction} label={`Progress of ${job.spec.model}`} />
            <p class="hint">
              {stepText(progress?.step)} · {percent(progress?.fraction, 0)}
            </p>
          </>
        )}
        {state === "JOB_STATE_QUEUED" && <p class="hint">{Number(job.queuePosition) ? `${counted(job.queuePosition, "job")} before it` : "Next in the queue"}</p>}
      </div>
      {isEnded(state) ? (
        <Button kind="ghost" size="small" icon="trash" aria-label={`Delete the job of ${job.spec.model}`} onClick={() => void remove()} />
      ) : (
        <Button size="small" onClick={() => void act(call("POST", path`/v1/jobs/${job.jobId}:cancel`, {}))}>
          Cancel
        </Button>
      )}
    </li>
  );
}
