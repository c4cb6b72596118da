import { useState } from "preact/hooks";

import { get, path, withQuery } from "../api";
import { count, percent, seconds, span } from "../format";
import { useLoad } from "../hooks";
import { howToSample, session } from "../session";
import { useStore } from "../store";
import type { Traffic } from "../types";
import { Badge, Card, Empty, ErrorNote, Segmented, Skeleton } from "../ui/basics";
import { Sparkline } from "../ui/charts";
import { at, AsCode, py, shell } from "../ui/code";
import { needsAttention } from "./attention";
import { Tile } from "./comparison";
import type { ModelData } from "./model";

const WINDOWS = [
  { value: "3600s", text: "1 hour" },
  { value: "86400s", text: "1 day" },
  { value: "604800s", text: "7 days" },
] as const;
const REFRESH_MS = 5000;

/** The traffic of each version: requests, latency, unknown inputs and drift. */
export function TrafficView({ data }: { data: ModelData }) {
  const [window, setWindow] = useState<(typeof WINDOWS)[number]["value"]>("3600s");
  const { model } = data.model;
  const target = withQuery(path`/v1/models/${model}/traffic`, { windowDuration: window });
  const { data: traffic, error, isSlow, reload } = useLoad((signal) => get<Traffic>(target, { signal }), [target], REFRESH_MS);
  const remedy = howToSample(useStore(session).info);
  const versions = traffic?.versions ?? [];
  const sum = (name: "requestCount" | "errorCount" | "unknownCount" | "inputCount") =>
    versions.reduce((total, each) => total + Number(each[name]), 0);
  const attention = needsAttention(traffic);
  return (
    <div class="stack loose">
      <div class="row wrap spread">
        <Segmented label="Time window" value={window} choices={WINDOWS} onChange={setWindow} />
        <AsCode snippets={snippets(model, window)} />
      </div>
      {error && <ErrorNote error={error} retry={reload} />}
      {isSlow && <Skeleton lines={4} />}
      {traffic && versions.length === 0 && (
        <Empty icon="chart" title="No requests in this window">
          <p>Requests appear here about ten seconds after they were answered.</p>
        </Empty>
      )}
      {versions.length > 0 && (
        <>
          <div class="tiles">
            <Tile label="Requests" value={count(sum("requestCount"))} />
            <Tile label="Error rate" value={percent(sum("errorCount") / Math.max(1, sum("requestCount")))} />
            <Tile label="Inputs" value={count(sum("inputCount"))} />
            <Tile label="Unknown inputs" value={count(sum("unknownCount"))} />
          </div>
          {(traffic?.points?.length ?? 0) > 1 && (
            <Card title="Requests over time">
              <Sparkline values={(traffic?.points ?? []).map((each) => Number(each.requestCount))} label="Requests over time" />
            </Card>
          )}
          {attention && <ErrorNote error={attention} />}
          <Card title="Versions">
            <div class="table-scroll" tabIndex={0} role="region" aria-label="Traffic by version">
              <VersionTable traffic={traffic as Traffic} />
            </div>
            <p class="hint">Summed over all replicas. Drift is measured on a sample of the inputs, once there are enough. {remedy}</p>
          </Card>
        </>
      )}
    </div>
  );
}

function VersionTable({ traffic }: { traffic: Traffic }) {
  const drift = (value: number | undefined, limit: number) =>
    value === undefined ? <span class="muted">–</span> : <Badge tone={value > limit ? "warn" : "neutral"}>{value.toFixed(2)}</Badge>;
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Version</th>
          {["Requests", "Errors", "p50", "p99", "Unknown", "Input drift", "Prediction drift"].map((each) => (
            <th key={each} scope="col" class="number">
              {each}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {traffic.versions.map((each) => (
          <tr key={each.version}>
            <td>{each.version}</td>
            <td class="number">{count(each.requestCount)}</td>
            <td class="number">{count(each.errorCount)}</td>
            <td class="number">{span(seconds(each.latencyP50Duration))}</td>
            <td class="number">{span(seconds(each.latencyP99Duration))}</td>
            <td class="number">{count(each.unknownCount)}</td>
            <td class="number">{drift(each.featureDrift, 3)}</td>
            <td class="number">{drift(each.predictionDrift, 0.25)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function snippets(model: string, window: string) {
  const spelled = { "3600s": "1h", "86400s": "1d", "604800s": "7d" }[window] ?? "1h";
  return {
    python: `from datetime import timedelta

from headstart import Client

with Client() as client:
    print(client.traffic(${py(model)}, window=timedelta(seconds=${seconds(window)})))`,
    cli: `headstart model traffic ${shell(model)} --window ${spelled}`,
    curl: `curl ${at(withQuery(path`/v1/models/${model}/traffic`, { windowDuration: window }))}`,
  };
}
