import { get, path } from "../api";
import { counted } from "../format";
import { useLoad } from "../hooks";
import type { Job, Version } from "../types";
import { Badge, Card, ErrorNote, Skeleton } from "../ui/basics";
import { AccuracyMeter } from "../ui/charts";
import { TryPanel } from "./try-panel";

/** A version that was just trained: its accuracy, and a place to try it. */
export function TrainedVersion({ model, job }: { model: string; job: Job }) {
  const number = job.version ?? "";
  const { data, error, isSlow } = useLoad(
    (signal) => get<{ version: Version }>(path`/v1/models/${model}/versions/${number}`, { signal }),
    [model, number],
  );
  const version = data?.version;
  return (
    <>
      <Card title={`Version ${number} of ${model}`} actions={<Badge tone="good">ready</Badge>}>
        {error && <ErrorNote error={error} />}
        {isSlow && <Skeleton lines={2} />}
        {version && (
          <>
            <AccuracyMeter metrics={version.metrics} isLarge />
            <p class="muted">
              Measured on {counted(version.metrics.exampleCount, "example")} that its head was not fitted on
              {Number(job.excludedCount) > 0 && `; ${counted(job.excludedCount, "example")} could not be used`}.
            </p>
          </>
        )}
      </Card>
      {version && (
        <Card title="Try it">
          <TryPanel version={version} />
        </Card>
      )}
    </>
  );
}
