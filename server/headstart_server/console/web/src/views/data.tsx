import { useEffect, useRef, useState } from "preact/hooks";

import { changesOf, type Edit, type Edits, editsOf, learning, retrain, setEdit } from "../edits";
import { contentPath, type ExampleQuery, type ExampleRecord, useExamples } from "../examples";
import { count, counted, labelText, percent } from "../format";
import { useAction, useLate } from "../hooks";
import { modelPath, navigate, type Place, setQuery } from "../router";
import { modalityOf, session } from "../session";
import { type Store, useStore } from "../store";
import type { Version } from "../types";
import { Badge, Button, Empty, ErrorNote, Segmented, Skeleton } from "../ui/basics";
import { AsCode, py, shell } from "../ui/code";
import { confirm } from "../ui/dialog";
import { VirtualGrid } from "../ui/grid";
import { Remote } from "../ui/remote";
import { toast } from "../ui/toasts";
import { chosenVersion, type ModelData, VersionSelect } from "./model";
import { ClassSelect, classOfKey, ExamplePanel } from "./example-panel";

const ISSUES = [
  { value: "label_issue", text: "Label issues" },
  { value: "error", text: "Errors" },
  { value: "duplicate", text: "Duplicates" },
  { value: "contradiction", text: "Contradictions" },
  { value: "outlier", text: "Outliers" },
  { value: "", text: "All" },
] as const;
const THUMBNAIL = 128;
const AHEAD = 100;

/** Find examples with wrong labels, correct them, and train a new version. */
export function DataView({ data, place }: { data: ModelData; place: Place }) {
  const version = chosenVersion(data, place.query.get("version") ?? data.model.newestVersion ?? null);
  if (!version) return null;
  if (!version.hasExamples) {
    return (
      <Empty icon="grid" title={`The examples of version ${version.version} are not stored`}>
        <p>They were discarded after the training. Train from the data again to fix it here.</p>
      </Empty>
    );
  }
  return <DataGrid key={version.version} data={data} version={version} place={place} />;
}

function DataGrid({ data, version, place }: { data: ModelData; version: Version; place: Place }) {
  const { model } = data.model;
  const query: ExampleQuery = {
    issue: place.query.get("issue") ?? (place.query.has("label") || place.query.has("predicted") ? "" : "label_issue"),
    label: place.query.get("label") ?? "",
    predicted: place.query.get("predicted") ?? "",
    prefix: place.query.get("id") ?? "",
    order: place.query.get("order") ?? "suspicion",
  };
  if (place.query.get("issue") === "all") query.issue = "";
  const list = useExamples(model, version.version, query);
  const isSlow = useLate(list.total === undefined && !list.error);
  const store = editsOf(model, version.version);
  const edits = useStore(store);
  const cursor = useRef(0);
  const [, redraw] = useState(0);
  const setFocused = (at: number) => {
    cursor.current = at;
    redraw(at);
  };
  const kind = modalityOf(useStore(session).backbones, version.lineage.backbone);
  useEffect(() => setFocused(0), [JSON.stringify(query)]);
  const isSingle = version.task === "TASK_SINGLE_LABEL";
  const record = list.records[cursor.current];

  const edit = (of: ExampleRecord, change: Omit<Edit, "index"> | undefined) => {
    setEdit(store, of.example.index, change);
    if (change) setFocused(Math.min(cursor.current + 1, (list.total ?? 1) - 1));
  };
  const relabel = (of: ExampleRecord, className: string) =>
    edit(of, className === of.example.label?.className ? { isKept: true } : { label: { className } });
  const onKey = (event: KeyboardEvent) => {
    const at = list.records[cursor.current];
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const suggested = suggestionOf(at);
    const chosen = isSingle ? classOfKey(version.classNames, event.key) : undefined;
    if (chosen !== undefined) relabel(at, chosen);
    else if (event.key === "Enter" && isSingle && suggested) relabel(at, suggested);
    else if (event.key === "Backspace" || event.key === "Delete") edit(at, { remove: true });
    else if (event.key === " ") edit(at, { isKept: true });
    else if (event.key === "z" || event.key === "u") edit(at, undefined);
    else return;
    event.preventDefault();
  };
  return (
    <div class="stack data-view">
      <div class="row wrap spread">
        <Segmented
          label="Finding"
          value={query.issue}
          choices={ISSUES}
          onChange={(issue) => setQuery({ issue: issue || "all", label: "", predicted: "" })}
        />
        <AsCode snippets={snippets(model, version.version, query, changesOf(edits))} />
      </div>
      <div class="row wrap filters">
        <VersionSelect label="Version" data={data} value={version.version} onChange={(value) => setQuery({ version: value })} />
        {isSingle && (
          <>
            <ClassSelect label="Label" names={version.classNames} value={query.label} onChange={(label) => setQuery({ label })} />
            <ClassSelect label="Predicted" names={version.classNames} value={query.predicted} onChange={(predicted) => setQuery({ predicted })} />
          </>
        )}
        <label class="row select-label">
          <span class="label">Order</span>
          <select class="input" value={query.order} onChange={(event) => setQuery({ order: event.currentTarget.value })}>
            <option value="suspicion">Most suspicious first</option>
            <option value="index">As sent</option>
          </select>
        </label>
        <span class="muted number" role="status">
          {list.total === undefined ? "" : counted(list.total, "example")}
        </span>
      </div>
      {list.error && <ErrorNote error={list.error} retry={list.retry} />}
      {isSlow && <Skeleton lines={6} />}
      {list.total === 0 && (
        <Empty icon="check" title={query.issue ? "Nothing to fix here" : "No examples"}>
          <p>{query.issue ? "No example has this finding. Choose another one above, or All." : "No example passes the filter."}</p>
        </Empty>
      )}
      {(list.total ?? 0) > 0 && (
        <div class="data-columns">
          <VirtualGrid
            label="Examples"
            count={list.total ?? 0}
            cellWidth={kind === "image" ? 128 : 220}
            cellHeight={kind === "image" ? 172 : 150}
            cursor={cursor}
            onFocus={setFocused}
            onKey={onKey}
            onVisible={(first, end) => list.need(first, end + AHEAD)}
            cellClass={(at) => stateOf(edits.get(list.records[at]?.example.index ?? ""))}
            renderCell={(at) => <Cell record={list.records[at]} edit={edits.get(list.records[at]?.example.index ?? "")} version={version} kind={kind} />}
          />
          {record && (
            <ExamplePanel
              record={record}
              edit={edits.get(record.example.index)}
              version={version}
              kind={kind}
              suggested={suggestionOf(record)}
              onRelabel={(className) => relabel(record, className)}
              onEdit={(change) => edit(record, change)}
            />
          )}
        </div>
      )}
      <FixTray data={data} version={version} store={store} />
    </div>
  );
}

/** Return the class that an example probably has, if its label looks wrong. */
function suggestionOf(record: ExampleRecord): string | undefined {
  const suggested = record.findings.find((each) => each.suggestedLabel)?.suggestedLabel ?? record.predictedLabel;
  return suggested?.className === record.example.label?.className ? undefined : suggested?.className;
}

const stateOf = (edit: Edit | undefined): string => (!edit ? "" : edit.remove ? "removed" : edit.isKept ? "kept" : "changed");

function Cell(props: { record: ExampleRecord | undefined; edit: Edit | undefined; version: Version; kind: "image" | "text" | "numbers" }) {
  const { record, edit, version, kind } = props;
  if (!record) return <span class="remote-wait" />;
  const { index } = record.example;
  const target = record.hasContent ? contentPath(version.model, version.version, index, kind === "image" ? THUMBNAIL : undefined) : "";
  const differs = labelText(record.predictedLabel) !== labelText(record.example.label) && record.predictedLabel;
  return (
    <>
      <span class="cell-content">
        <Remote target={target} kind={kind} alt="" />
      </span>
      <span class="hidden">{record.example.exampleId || `Example ${index}`}</span>
      <span class="row cell-label">
        <strong class="cut">
          <bdi>{labelText(edit?.label ?? record.example.label)}</bdi>
        </strong>
        {edit?.remove && <Badge tone="bad">removed</Badge>}
        {edit?.isKept && <Badge>kept</Badge>}
        {edit?.label && <Badge tone="accent">changed</Badge>}
      </span>
      <span class="hint cut">
        {differs ? <>looks like <bdi>{labelText(record.predictedLabel)}</bdi></> : record.labelProbability === undefined ? "\u00a0" : `${percent(record.labelProbability)} sure`}
      </span>
    </>
  );
}

/** The changes so far, and the training that learns them. */
function FixTray({ data, version, store }: { data: ModelData; version: Version; store: Store<Edits> }) {
  const changes = changesOf(useStore(store));
  const isLearning = useStore(learning).has(store);
  const action = useAction(async () => {
    // The tray itself may be gone: the page shows the new version as soon as it is published.
    const page = location.pathname;
    const found = await retrain(version.model, version.version).catch((error: Error) => {
      if (location.pathname !== page) toast(error.message, "bad", modelPath(version.model, "data", { version: version.version }));
      throw error;
    });
    const compared = modelPath(version.model, "versions", { first: version.version, second: found });
    toast(`Version ${found} learned ${counted(changes.length, "change")}.`, "good", compared);
    // If another page is open by now, it stays open.
    if (location.pathname !== page) return;
    data.reload();
    navigate(compared);
  });
  const discard = async () => {
    const text = "The examples keep their labels. It cannot be undone.";
    if (await confirm(`Discard ${counted(changes.length, "change")}?`, text, "Discard")) store.set(new Map());
  };
  if (!changes.length) return null;
  const removed = changes.filter((each) => each.remove).length;
  return (
    <div class="tray" role="region" aria-label="Changes">
      <span>
        <strong>{counted(changes.length, "change")}</strong>{" "}
        <span class="muted">
          {changes.length - removed ? `${count(changes.length - removed)} relabeled` : ""}
          {changes.length - removed && removed ? ", " : ""}
          {removed ? `${count(removed)} removed` : ""}
        </span>
      </span>
      {action.error && <ErrorNote error={action.error} />}
      <span class="row">
        <Button kind="ghost" disabled={isLearning} onClick={() => void discard()}>
          Discard
        </Button>
        <Button kind="primary" icon="spark" isBusy={isLearning} onClick={() => void action.run()}>
          {isLearning ? "Training…" : "Retrain with fixes"}
        </Button>
      </span>
    </div>
  );
}

function snippets(model: string, version: string, query: ExampleQuery, changes: readonly Edit[]) {
  const shown = changes.length ? changes.slice(0, 3) : [{ index: "17", label: { className: "cat" } }, { index: "23", remove: true }];
  const body = JSON.stringify({ spec: { parentVersion: version, edits: shown.map(({ index, label, remove }) => ({ index, label, remove })) } });
  const issue = query.issue ? `&filter.issue=${query.issue}` : "";
  const url = `${location.origin}/v1/models/${encodeURIComponent(model)}`;
  const pythonEdit = (each: Edit) =>
    each.remove ? `ExampleEdit(index=${each.index}, remove=True)` : `ExampleEdit(index=${each.index}, label=${py(labelText(each.label))})`;
  return {
    python: `from headstart import Client, ExampleEdit

with Client() as client:
    version = client.model(${py(model)})[${version}]
    for example in version.examples(${query.issue ? `issue=${py(query.issue)}` : ""}):
        print(example)
    client.model(${py(model)}).fine_tune(
        parent=${version},
        edits=[${shown.map(pythonEdit).join(", ")}],
    )`,
    cli: `headstart example list ${shell(`${model}@${version}`)}${query.issue ? ` --issue ${query.issue}` : ""}`,
    curl: `curl ${shell(`${url}/versions/${version}/examples?orderBy=${query.order}${issue}`)}
curl -H 'content-type: application/json' -d ${shell(body)} \\
  ${shell(`${url}:fineTune`)}`,
  };
}
