import { useState } from "preact/hooks";

import { call, path } from "../api";
import { ago, bytes, count, counted, exactTime } from "../format";
import { type Place, modelPath, setQuery } from "../router";
import { may, session } from "../session";
import { useStore } from "../store";
import type { Version } from "../types";
import { Badge, Button, Card } from "../ui/basics";
import { AccuracyMeter } from "../ui/charts";
import { AsCode, py, shell } from "../ui/code";
import { confirm } from "../ui/dialog";
import { toast } from "../ui/toasts";
import { AliasCards } from "./aliases";
import { ComparisonCard } from "./comparison";
import type { ModelData } from "./model";

const PAGE = 50;

/** The versions as a timeline, their comparison, and the aliases. */
export function VersionsView({ data, place }: { data: ModelData; place: Place }) {
  const [shown, setShown] = useState(PAGE);
  const { caller } = useStore(session);
  const { model } = data.model;
  const first = place.query.get("first") ?? "";
  const second = place.query.get("second") ?? "";
  const choose = (version: string) => {
    if (version === first) setQuery({ first: second, second: "" });
    else if (version === second) setQuery({ second: "" });
    else if (!first) setQuery({ first: version });
    else setQuery({ first: second || first, second: version });
  };
  const isTrainer = may(caller, "RIGHT_TRAIN", model);
  return (
    <div class="stack loose">
      <AliasCards data={data} canEdit={isTrainer} />
      {isTrainer && first && second && <ComparisonCard data={data} first={first} second={second} />}
      <Card
        title="Versions"
        actions={
          <>
            {isTrainer && data.versions.length > 1 && (
              <span class="hint wide-only">{first && !second ? "Choose a second version to compare" : "Choose two versions to compare them"}</span>
            )}
            <AsCode snippets={snippets(model, first, second)} />
          </>
        }
      >
        <ol class="timeline">
          {data.versions.slice(0, shown).map((each) => (
            <VersionRow
              key={each.version}
              version={each}
              isChosen={each.version === first || each.version === second}
              onChoose={isTrainer && data.versions.length > 1 ? () => choose(each.version) : undefined}
              onDelete={may(caller, "RIGHT_ADMIN", model) ? () => void deleteVersion(each, data) : undefined}
            />
          ))}
        </ol>
        {data.versions.length > shown && (
          <Button onClick={() => setShown(shown + PAGE)}>Show {Math.min(PAGE, data.versions.length - shown)} more</Button>
        )}
      </Card>
    </div>
  );
}

function VersionRow(props: { version: Version; isChosen: boolean; onChoose?: () => void; onDelete?: () => void }) {
  const { version } = props;
  const { lineage, promotion } = version;
  const isKept = promotion?.decision === "PROMOTION_DECISION_KEPT";
  const added = Number(lineage.addedExampleCount);
  const removed = Number(lineage.removedExampleCount);
  return (
    <li class={`version ${props.isChosen ? "chosen" : ""}`}>
      <div class="version-name">
        {props.onChoose && (
          <input type="checkbox" checked={props.isChosen} aria-label={`Compare version ${version.version}`} onChange={props.onChoose} />
        )}
        <a class="version-number" href={modelPath(version.model, "try", { version: version.version })}>
          {version.version}
        </a>
        <div class="grow">
          <div class="row wrap">
            <strong class="cut">{version.displayName || `Version ${version.version}`}</strong>
            {version.aliases.map((each) => (
              <Badge key={each} tone={each === "stable" ? "good" : "accent"}>
                {each}
              </Badge>
            ))}
            {isKept && (
              <Badge tone="warn" title={promotion?.reasons.join(" ")}>
                not promoted
              </Badge>
            )}
          </div>
          <p class="hint" title={exactTime(version.createTime)}>
            {ago(version.createTime)} · {counted(lineage.exampleCount, "example")}
            {lineage.parentVersion && ` (from version ${lineage.parentVersion}${added ? `, ${count(added)} added` : ""}${removed ? `, ${count(removed)} removed` : ""})`}{" "}
            · {lineage.backbone} · {bytes(version.sizeBytes)}
          </p>
        </div>
      </div>
      <div class="version-measure">
        <AccuracyMeter metrics={version.metrics} />
      </div>
      <div class="row">
        <a
          class="button ghost only-icon small"
          data-outside
          target="_blank"
          rel="noopener"
          aria-label={`Report of version ${version.version}`}
          title="Report"
          href={path`/v1/models/${version.model}/versions/${version.version}/report`}
          hidden={!!session.value.caller?.authenticated}
        >
          <svg class="icon" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
            <path d="M4 1.8h5.5L13 5.2v9H4ZM9.3 2v3.4h3.5M6.3 8.5h4.4M6.3 11h4.4" />
          </svg>
        </a>
        {props.onDelete && (
          <Button kind="ghost" size="small" icon="trash" aria-label={`Delete version ${version.version}`} onClick={props.onDelete} />
        )}
      </div>
    </li>
  );
}

async function deleteVersion(version: Version, data: ModelData): Promise<void> {
  const names = version.aliases.length ? `The aliases ${version.aliases.join(", ")} are deleted with it. ` : "";
  const isSure = await confirm(`Delete version ${version.version}?`, `${names}It cannot be undone.`, "Delete the version");
  if (!isSure) return;
  try {
    await call("DELETE", `${path`/v1/models/${version.model}/versions/${version.version}`}?force=true`);
    toast(`Version ${version.version} is deleted.`);
    data.reload();
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "bad");
  }
}

function snippets(model: string, first: string, second: string) {
  const [one, two] = [first || "1", second || "2"];
  const body = JSON.stringify({ spec: { first: { model, version: one }, second: { model, version: two } } });
  return {
    python: `from headstart import Client

with Client() as client:
    pets = client.model(${py(model)})
    print(pets.versions())
    print(pets[${two}].compare(${one}).verdict)`,
    cli: `headstart version list ${shell(model)}\nheadstart version compare ${shell(`${model}@${one}`)} ${shell(`${model}@${two}`)}`,
    curl: `curl ${shell(`${location.origin}/v1/models/${encodeURIComponent(model)}/versions`)}
curl -H 'content-type: application/json' -d ${shell(body)} \\
  ${location.origin}/v1/models:compare`,
  };
}
