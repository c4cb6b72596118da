import { useState } from "preact/hooks";

import { ApiError, call, get, path, withQuery } from "../api";
import { ago, count, exactTime, percent, seconds, span } from "../format";
import { useAction, useLoad } from "../hooks";
import { howToSample, session } from "../session";
import { useStore } from "../store";
import type { Alias, AliasEvent, Traffic, VersionTraffic } from "../types";
import { Badge, Button, Card, ErrorNote, Field, Note, Skeleton } from "../ui/basics";
import { at, AsCode, py, shell } from "../ui/code";
import { confirm, Dialog } from "../ui/dialog";
import { toast } from "../ui/toasts";
import { type ModelData, VersionSelect } from "./model";

const NAME = /^[a-zA-Z][a-zA-Z0-9._-]{0,127}$/;
const TRAFFIC_MS = 5000;

/** The aliases as cards: what they serve, their canary, and their history. */
export function AliasCards({ data, canEdit }: { data: ModelData; canEdit: boolean }) {
  const [isAdding, setAdding] = useState(false);
  const { aliases } = data.model;
  return (
    <section class="stack" aria-label="Aliases">
      <div class="row spread">
        <h2>Aliases</h2>
        {canEdit && (
          <Button size="small" icon="plus" onClick={() => setAdding(true)}>
            New alias
          </Button>
        )}
      </div>
      {aliases.length === 0 && (
        <Note>
          <p>An alias is a movable name for a version, such as stable. Clients use the name, and you move it.</p>
        </Note>
      )}
      <div class="columns">
        {aliases.map((each) => (
          <AliasCard key={each.alias} alias={each} data={data} canEdit={canEdit} />
        ))}
      </div>
      {isAdding && <NewAlias data={data} onClose={() => setAdding(false)} />}
    </section>
  );
}

/** Move an alias, if it is still as the page shows it. */
async function setAlias(model: string, alias: string, body: { version: string; etag?: string; traffic: { version: string; fraction: number }[] }): Promise<void> {
  try {
    await call("PUT", path`/v1/models/${model}/aliases/${alias}`, body);
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) throw new Error("Someone else has moved the alias. Look at it again.");
    throw error;
  }
}

function AliasCard({ alias, data, canEdit }: { alias: Alias; data: ModelData; canEdit: boolean }) {
  const [isEditing, setEditing] = useState(false);
  const [hasHistory, setHistory] = useState(false);
  const { model } = data.model;
  const canary = alias.traffic[0];
  const rollBack = useAction(async () => {
    const { events } = await get<{ events: AliasEvent[] }>(withQuery(path`/v1/models/${model}/aliases/${alias.alias}:history`, { pageSize: 1 }));
    const last = events[0];
    if (!last?.previousVersion) throw new Error("The alias has no previous version.");
    await setAlias(model, alias.alias, { version: last.previousVersion, etag: alias.etag, traffic: last.previousTraffic });
    toast(`${alias.alias} names version ${last.previousVersion} again.`, "good");
    data.reload();
  });
  return (
    <Card
      class="alias-card"
      label={`Alias ${alias.alias}`}
      title={
        <span class="row">
          {alias.alias}
          <Badge tone={alias.alias === "stable" ? "good" : "accent"}>version {alias.version}</Badge>
        </span>
      }
      actions={<AsCode snippets={snippets(model, alias)} />}
    >
      <p class="hint" title={exactTime(alias.updateTime)}>
        Moved {ago(alias.updateTime)}
      </p>
      {canary && <Canary model={model} alias={alias} />}
      {rollBack.error && <ErrorNote error={rollBack.error} />}
      {canEdit && (
        <div class="row wrap">
          <Button size="small" icon="flag" onClick={() => setEditing(true)}>
            Move or split
          </Button>
          <Button size="small" icon="undo" isBusy={rollBack.isRunning} onClick={() => void rollBack.run()}>
            Roll back
          </Button>
          <Button size="small" kind="ghost" onClick={() => setHistory(true)}>
            History
          </Button>
        </div>
      )}
      {isEditing && <EditAlias alias={alias} data={data} onClose={() => setEditing(false)} />}
      {hasHistory && <History model={model} alias={alias.alias} onClose={() => setHistory(false)} />}
    </Card>
  );
}

/** The live traffic of both sides of a split. */
function Canary({ model, alias }: { model: string; alias: Alias }) {
  const { data } = useLoad(
    (signal) => get<Traffic>(withQuery(path`/v1/models/${model}/traffic`, { windowDuration: "3600s" }), { signal }),
    [model, alias.etag],
    TRAFFIC_MS,
  );
  const remedy = howToSample(useStore(session).info);
  const rest = 1 - alias.traffic.reduce((sum, each) => sum + each.fraction, 0);
  const sides = [{ version: alias.version, fraction: rest }, ...alias.traffic];
  const of = (version: string): VersionTraffic | undefined => data?.versions.find((each) => each.version === version);
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={`Traffic split of ${alias.alias}`}>
      <div class="split" aria-hidden="true">
        {sides.map((each) => (
          <span key={each.version} style={{ flexGrow: each.fraction }} />
        ))}
      </div>
      <table class="tight">
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col" class="number">
              Share
            </th>
            <th scope="col" class="number">
              Requests, 1 h
            </th>
            <th scope="col" class="number">
              Errors
            </th>
            <th scope="col" class="number">
              p99
            </th>
            <th scope="col" class="number">
              Agreement
            </th>
          </tr>
        </thead>
        <tbody>
          {sides.map((each) => (
            <tr key={each.version}>
              <td>{each.version}</td>
              <td class="number">{percent(each.fraction)}</td>
              <td class="number">{count(of(each.version)?.requestCount)}</td>
              <td class="number">{count(of(each.version)?.errorCount)}</td>
              <td class="number">{span(seconds(of(each.version)?.latencyP99Duration))}</td>
              <td class="number" title={`Sampled inputs that version ${each.version} and version ${alias.version} predict alike`}>
                {each.version === alias.version ? "" : agreementOf(of(each.version))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {remedy && <p class="hint">Agreement compares both versions on a sample of the inputs. {remedy}</p>}
    </div>
  );
}

/** Return how often a version predicts the same as that of the alias; a dash without a sample. */
function agreementOf(traffic: VersionTraffic | undefined): string {
  const compared = Number(traffic?.comparedCount ?? 0);
  return compared ? percent(Number(traffic?.agreedCount) / compared) : "–";
}

function EditAlias({ alias, data, onClose }: { alias: Alias; data: ModelData; onClose: () => void }) {
  const { model } = data.model;
  const [version, setVersion] = useState(alias.version);
  const [canary, setCanary] = useState(alias.traffic[0]?.version ?? "");
  const [share, setShare] = useState(Math.round((alias.traffic[0]?.fraction ?? 0.1) * 100));
  const action = useAction(async () => {
    const traffic = canary && canary !== version ? [{ version: canary, fraction: share / 100 }] : [];
    await setAlias(model, alias.alias, { version, etag: alias.etag, traffic });
    toast(`${alias.alias} is set.`, "good");
    data.reload();
    onClose();
  });
  const remove = async () => {
    if (!(await confirm(`Delete the alias ${alias.alias}?`, "Requests that name it fail. Its version stays.", "Delete the alias"))) return;
    await call("DELETE", withQuery(path`/v1/models/${model}/aliases/${alias.alias}`, { etag: alias.etag })).catch((error: Error) => toast(error.message, "bad"));
    data.reload();
    onClose();
  };
  return (
    <Dialog
      title={`Set ${alias.alias}`}
      onClose={onClose}
      actions={
        <>
          <Button kind="ghost" icon="trash" onClick={() => void remove()}>
            Delete
          </Button>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" isBusy={action.isRunning} onClick={() => void action.run()}>
            Save
          </Button>
        </>
      }
    >
      <VersionSelect label="Serves" data={data} value={version} onChange={setVersion} />
      {data.versions.length > 1 && <VersionSelect label="Canary" data={data} value={canary} none="No canary" onChange={setCanary} />}
      {canary && canary !== version && (
        <Field label={`Share of version ${canary}`} hint={`Version ${version} answers the other ${100 - share}%.`}>
          {(id) => (
            <div class="row">
              <input id={id} type="range" min={1} max={100} value={share} onInput={(event) => setShare(Number(event.currentTarget.value))} />
              <output class="number share">{share}%</output>
            </div>
          )}
        </Field>
      )}
      {action.error && <ErrorNote error={action.error} />}
    </Dialog>
  );
}

function NewAlias({ data, onClose }: { data: ModelData; onClose: () => void }) {
  const [name, setName] = useState(data.model.aliases.length ? "" : "stable");
  const [version, setVersion] = useState(data.model.newestVersion ?? "");
  const action = useAction(async () => {
    if (!NAME.test(name)) throw new Error("Start with a letter, and use letters, digits, dots, hyphens and underscores.");
    await setAlias(data.model.model, name, { version, traffic: [] });
    data.reload();
    onClose();
  });
  return (
    <Dialog
      title="New alias"
      onClose={onClose}
      actions={
        <Button kind="primary" isBusy={action.isRunning} onClick={() => void action.run()}>
          Create
        </Button>
      }
    >
      <Field label="Name">
        {(id) => <input id={id} class="input" value={name} onInput={(event) => setName(event.currentTarget.value.trim())} />}
      </Field>
      <VersionSelect label="Names" data={data} value={version} onChange={setVersion} />
      {action.error && <ErrorNote error={action.error} />}
    </Dialog>
  );
}

const CAUSES: Record<string, string> = {
  ALIAS_EVENT_CAUSE_SET: "set",
  ALIAS_EVENT_CAUSE_PUBLISHED: "moved by a training",
  ALIAS_EVENT_CAUSE_DELETED: "changed by a deletion",
  ALIAS_EVENT_CAUSE_EXPIRED: "changed by an expiration",
};

function History({ model, alias, onClose }: { model: string; alias: string; onClose: () => void }) {
  const { data, error, isSlow, reload } = useLoad(
    (signal) => get<{ events: AliasEvent[] }>(path`/v1/models/${model}/aliases/${alias}:history`, { signal }),
    [model, alias],
  );
  const text = (version: string | undefined, traffic: { version: string; fraction: number }[]) =>
    version === undefined ? "–" : [version, ...traffic.map((each) => `${each.version} (${percent(each.fraction)})`)].join(", ");
  return (
    <Dialog title={`History of ${alias}`} wide onClose={onClose}>
      {error && <ErrorNote error={error} retry={reload} />}
      {isSlow && <Skeleton lines={4} />}
      <ol class="history">
        {data?.events.map((each) => (
          <li key={each.eventTime}>
            <strong class="number">
              {text(each.previousVersion, each.previousTraffic)} → {text(each.version, each.traffic)}
            </strong>
            <span class="hint" title={exactTime(each.eventTime)}>
              {CAUSES[each.cause] ?? each.cause} {each.principal && `by ${each.principal} `}
              {ago(each.eventTime)}
            </span>
          </li>
        ))}
      </ol>
    </Dialog>
  );
}

function snippets(model: string, { alias, version, traffic }: Alias) {
  const split = traffic[0];
  const percentOf = split ? `${split.version}=${Math.round(split.fraction * 100)}%` : "";
  const body = JSON.stringify({ version, traffic: traffic.map((each) => ({ version: each.version, fraction: each.fraction })) });
  return {
    python: `from headstart import Client

with Client() as client:
    client.model(${py(model)}).alias(${py(alias)}).set(${version}${split ? `, traffic={${split.version}: ${split.fraction}}` : ""})`,
    cli: `headstart alias set ${shell(model)} ${shell(alias)} ${version}${percentOf ? ` --traffic ${percentOf}` : ""}\nheadstart alias history ${shell(model)} ${shell(alias)}`,
    curl: `curl -X PUT -H 'content-type: application/json' -d ${shell(body)} \\\n  ${at(path`/v1/models/${model}/aliases/${alias}`)}`,
  };
}
