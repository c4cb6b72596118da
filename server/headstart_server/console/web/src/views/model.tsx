import { useEffect, useRef } from "preact/hooks";

import { all, call, get, path } from "../api";
import { counted } from "../format";
import { useLoad, useTitle } from "../hooks";
import { onJobEnd } from "../jobs";
import { modelPath, navigate, type Place } from "../router";
import { loadModels, may, session } from "../session";
import { useStore } from "../store";
import { modelTabs } from "../tabs";
import type { Model, Version } from "../types";
import { Button, Empty, ErrorNote, LinkButton, PageHead, Skeleton } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { toast } from "../ui/toasts";
import { DataView } from "./data";
import { MapView } from "./map";
import { ReviewView } from "./review";
import { TrafficView } from "./traffic";
import { TryView } from "./try";
import { VersionsView } from "./versions";

export interface ModelData {
  model: Model;
  versions: Version[];
  reload: () => void;
}

/** A model: its head and the view that is open. */
export function ModelPage({ place }: { place: Place }) {
  const name = place.path[1] ?? "";
  const view = place.path[2] ?? "try";
  const { caller } = useStore(session);
  const canTrain = may(caller, "RIGHT_TRAIN", name);
  const loaded = useLoad(
    async (signal) => {
      const [model, versions] = await Promise.all([
        get<{ model: Model }>(path`/v1/models/${name}`, { signal }),
        all<Version>(path`/v1/models/${name}/versions`, "versions", 1000, { signal }),
      ]);
      return { model: model.model, versions };
    },
    [name],
  );
  useTitle(name);
  const tabList = useRef<HTMLElement>(null);
  useEffect(() => tabList.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [view]);
  useEffect(() => onJobEnd((event) => event.model === name && loaded.reload()), [name, loaded.reload]);
  const { data, error, isSlow, reload } = loaded;
  if (error?.isMissing) {
    return (
      <Empty isPage icon="search" title={`No model is named “${name}”`}>
        <a class="link" href="/">
          Go to the models
        </a>
      </Empty>
    );
  }
  const tabs = modelTabs(caller, name);
  const newest = data?.model.newestVersion;
  return (
    <>
      <PageHead
        title={data?.model.displayName || name}
        note={data ? `${counted(data.model.versionCount, "version")}${data.model.description ? ` · ${data.model.description}` : ""}` : "\u00a0"}
        actions={
          data && (
            <>
              {may(caller, "RIGHT_ADMIN", name) && <Button kind="ghost" icon="trash" aria-label="Delete the model" onClick={() => void deleteModel(data.model)} />}
              {canTrain && newest && (
                <LinkButton href={`/new?model=${encodeURIComponent(name)}&parent=${newest}`} icon="plus">
                  Add examples
                </LinkButton>
              )}
            </>
          )
        }
      />
      <nav ref={tabList} class="tabs" aria-label={`Views of ${name}`}>
        {tabs.map((each) => (
          <a key={each.view} href={modelPath(name, each.view)} aria-current={each.view === view ? "page" : undefined}>
            <Icon name={each.icon} />
            {each.text}
          </a>
        ))}
      </nav>
      {error && <ErrorNote error={error} retry={reload} />}
      {isSlow && <Skeleton lines={5} />}
      {data && !tabs.some((each) => each.view === view) && (
        <Empty icon="search" title="No such view, or the token does not allow it" />
      )}
      {data && tabs.some((each) => each.view === view) && <View view={view} place={place} data={{ ...data, reload }} />}
    </>
  );
}

function View({ view, place, data }: { view: string; place: Place; data: ModelData }) {
  if (!data.versions.length) {
    return (
      <Empty icon="cube" title="No versions yet">
        <p>A version appears when a training has succeeded.</p>
        {may(session.value.caller, "RIGHT_TRAIN", data.model.model) && (
          <p>
            <a href="/jobs">Jobs</a> shows why one has failed. <a href={`/new?model=${encodeURIComponent(data.model.model)}`}>Train a version</a>
          </p>
        )}
      </Empty>
    );
  }
  if (view === "data") return <DataView data={data} place={place} />;
  if (view === "map") return <MapView data={data} place={place} />;
  if (view === "review") return <ReviewView data={data} />;
  if (view === "versions") return <VersionsView data={data} place={place} />;
  if (view === "traffic") return <TrafficView data={data} />;
  return <TryView data={data} place={place} />;
}

async function deleteModel(model: Model): Promise<void> {
  const aliases = model.aliases.map((each) => each.alias).join(", ");
  const isSure = await confirm(
    `Delete ${model.model}?`,
    `This deletes ${counted(model.versionCount, "version")}${aliases ? `, the aliases ${aliases}` : ""} and the examples that only they need. It cannot be undone.`,
    "Delete the model",
  );
  if (!isSure) return;
  try {
    await call("DELETE", `${path`/v1/models/${model.model}`}?force=true`);
    await loadModels();
    toast(`${model.model} is deleted.`);
    navigate("/");
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "bad");
  }
}

/** Return the version that a name stands for: a number, an alias, or the newest. */
export function chosenVersion(data: ModelData, name: string | null): Version | undefined {
  const stable = data.model.aliases.find((each) => each.alias === "stable");
  const number = data.model.aliases.find((each) => each.alias === name)?.version ?? (name || stable?.version || data.model.newestVersion);
  return data.versions.find((each) => each.version === number) ?? data.versions[0];
}

/** A choice among the versions and aliases of a model. */
export function VersionSelect(props: { label: string; data: ModelData; value: string; none?: string; onChange: (value: string) => void }) {
  return (
    <label class="row select-label">
      <span class="label">{props.label}</span>
      <select class="input" value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.none !== undefined && <option value="">{props.none}</option>}
        {props.data.versions.map((each) => (
          <option key={each.version} value={each.version}>
            Version {each.version}
            {each.aliases.length ? ` (${each.aliases.join(", ")})` : ""}
          </option>
        ))}
      </select>
    </label>
  );
}
