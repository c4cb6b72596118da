import { useEffect, useRef, useState } from "preact/hooks";

import { get, path, withQuery } from "../api";
import { ago, counted, percent } from "../format";
import { useLoad, useTitle } from "../hooks";
import { liveJobs, isEnded } from "../jobs";
import { modelPath } from "../router";
import { may, models, session } from "../session";
import { useStore } from "../store";
import type { Findings, Model, Traffic, Version } from "../types";
import { Badge, Empty, LinkButton, PageHead, Skeleton } from "../ui/basics";
import { AccuracyMeter, Sparkline } from "../ui/charts";
import { AsCode } from "../ui/code";
import { needsAttention } from "./attention";
import { NewPage } from "./new";

export function HomePage() {
  useTitle("");
  const known = useStore(models);
  const { caller } = useStore(session);
  const canTrain = may(caller, "RIGHT_TRAIN");
  if (known === undefined) return <Skeleton lines={5} />;
  if (known.length === 0) {
    if (canTrain) return <NewPage isFirst />;
    return (
      <Empty isPage icon="cube" title="No models yet">
        <p>Models that you may use appear here.</p>
      </Empty>
    );
  }
  return (
    <>
      <PageHead
        title="Models"
        note={counted(known.length, "model")}
        actions={
          <>
            <AsCode
              snippets={{
                python: "from headstart import Client\n\nwith Client() as client:\n    for model in client.models():\n        print(model)",
                cli: "headstart model list",
                curl: `curl ${location.origin}/v1/models`,
              }}
            />
            {canTrain && (
              <LinkButton href="/new" kind="primary" icon="plus">
                New model
              </LinkButton>
            )}
          </>
        }
      />
      <div class="cards">
        {known.map((each) => (
          <ModelCard key={each.model} model={each} />
        ))}
      </div>
    </>
  );
}

/** A card loads its details when it comes into view. */
function ModelCard({ model }: { model: Model }) {
  const element = useRef<HTMLAnchorElement>(null);
  const [isSeen, setSeen] = useState(false);
  const live = useStore(liveJobs);
  const canTrain = may(useStore(session).caller, "RIGHT_TRAIN", model.model);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((each) => each.isIntersecting)) setSeen(true);
    });
    if (element.current) observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  const shown = model.aliases.find((each) => each.alias === "stable")?.version ?? model.newestVersion;
  const { data, error } = useLoad(
    async (signal) => {
      if (!isSeen || !shown) return undefined;
      const [version, traffic, evaluation] = await Promise.all([
        get<{ version: Version }>(withQuery(path`/v1/models/${model.model}/versions/${shown}`, { view: "basic" }), { signal }),
        get<Traffic>(withQuery(path`/v1/models/${model.model}/traffic`, { windowDuration: "86400s" }), { signal }).catch(() => undefined),
        canTrain ? get<{ findings?: Findings }>(path`/v1/models/${model.model}/versions/${shown}/evaluation`, { signal }).catch(() => undefined) : undefined,
      ]);
      return { version: version.version, traffic, labelIssues: Number(evaluation?.findings?.labelIssueCount ?? 0) };
    },
    [isSeen, model.model, shown, canTrain],
  );
  const running = [...live.values()].find((each) => each.model === model.model && !isEnded(each.state));
  const attention = needsAttention(data?.traffic);
  const issues = data?.labelIssues ?? 0;
  const requests = (data?.traffic?.versions ?? []).reduce((sum, each) => sum + Number(each.requestCount), 0);
  return (
    <a ref={element} class="model-card" href={modelPath(model.model)}>
      <div class="row spread">
        <h2 class="cut">{model.displayName || model.model}</h2>
        {running ? <Badge tone="accent">Training {percent(running.progress?.fraction ?? 0, 0)}</Badge> : null}
        {!running && attention ? (
          <Badge tone="warn" title={attention}>
            Check
          </Badge>
        ) : null}
        {!running && !attention && issues ? (
          <Badge tone="warn" title={`${counted(issues, "label")} of version ${shown} ${issues === 1 ? "looks" : "look"} wrong`}>
            {counted(issues, "label")} to check
          </Badge>
        ) : null}
      </div>
      {data ? <AccuracyMeter metrics={data.version.metrics} /> : <div class="measure-space hint">{error?.message}</div>}
      <div class="row wrap">
        {model.aliases.map((each) => (
          <Badge key={each.alias} tone={each.alias === "stable" ? "good" : "neutral"}>
            {each.alias} → {each.version}
          </Badge>
        ))}
        {model.aliases.length === 0 && <Badge>{model.newestVersion ? `version ${model.newestVersion}` : "no version"}</Badge>}
      </div>
      {data?.traffic?.points?.length && requests ? (
        <Sparkline values={data.traffic.points.map((each) => Number(each.requestCount))} label={`${requests} requests in the last day`} />
      ) : null}
      <div class="model-card-foot">
        <span>{counted(model.versionCount, "version")}</span>
        <span>{requests ? `${counted(requests, "request")} today` : data ? ago(data.version.createTime) : ""}</span>
      </div>
    </a>
  );
}
