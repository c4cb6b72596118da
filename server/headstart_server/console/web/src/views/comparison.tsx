import { useState } from "preact/hooks";

import { call } from "../api";
import { contentPath } from "../examples";
import { count, counted, labelText, number, percent, signedPoints } from "../format";
import { useLoad } from "../hooks";
import { setQuery } from "../router";
import { modalityOf, session } from "../session";
import { useStore } from "../store";
import type { Comparison, DifferingExample } from "../types";
import { Badge, Button, Card, ErrorNote, Skeleton } from "../ui/basics";
import { DifferenceBar } from "../ui/charts";
import { Remote } from "../ui/remote";
import type { ModelData } from "./model";

const SHOWN_CLASSES = 40;
const SHOWN_EXAMPLES = 12;

/** Compare two versions on the stored examples of both. */
export function ComparisonCard({ data, first, second }: { data: ModelData; first: string; second: string }) {
  const { model } = data.model;
  const { data: found, error, isSlow, reload } = useLoad(
    (signal) =>
      call<{ comparison: Comparison; differingExamples: DifferingExample[] }>(
        "POST",
        "/v1/models:compare",
        { spec: { first: { model, version: first }, second: { model, version: second } } },
        { signal },
      ),
    [model, first, second],
  );
  return (
    <Card
      title={`Version ${first} and version ${second}`}
      actions={<Button kind="ghost" size="small" icon="close" aria-label="Close the comparison" onClick={() => setQuery({ first: "", second: "" })} />}
    >
      {error && <ErrorNote error={error} retry={reload} />}
      {isSlow && <Skeleton lines={4} />}
      {found && <ComparisonView comparison={found.comparison} first={first} second={second} />}
      {found && <Differing data={data} found={found} first={first} second={second} />}
    </Card>
  );
}

/** The examples that only one of both versions predicts correctly. */
function Differing(props: { data: ModelData; found: { comparison: Comparison; differingExamples: DifferingExample[] }; first: string; second: string }) {
  const { data, found, first, second } = props;
  const sides = [
    { right: first, total: Number(found.comparison.onlyFirstRight), examples: found.differingExamples.filter((each) => each.firstRight) },
    { right: second, total: Number(found.comparison.onlySecondRight), examples: found.differingExamples.filter((each) => !each.firstRight) },
  ].filter((each) => each.examples.length);
  return (
    <>
      {sides.map((each) => (
        <DifferingSide key={each.right} data={data} {...each} />
      ))}
    </>
  );
}

function DifferingSide({ data, right, total, examples }: { data: ModelData; right: string; total: number; examples: readonly DifferingExample[] }) {
  const [shown, setShown] = useState(SHOWN_EXAMPLES);
  const { backbones } = useStore(session);
  return (
    <section class="stack" aria-label={`Only version ${right} is right`}>
      <div class="row spread">
        <h3>Only version {right} is right</h3>
        <span class="muted number">{total > examples.length ? `${count(examples.length)} of ${count(total)}` : counted(total, "example")}</span>
      </div>
      <ul class="neighbors differing">
        {examples.slice(0, shown).map((each) => {
          const owner = data.versions.find((version) => version.version === each.version?.version);
          const kind = modalityOf(backbones, owner?.lineage.backbone ?? "");
          const target = owner?.hasExamples ? contentPath(owner.model, owner.version, each.example.index, kind === "image" ? 128 : undefined) : "";
          const name = each.example.exampleId || `example ${each.example.index}`;
          return (
            <li key={`${each.version?.version} ${each.example.index}`}>
              <span class="cell-content">
                <Remote target={target} kind={kind} alt={name} />
              </span>
              <strong class="cut" title={name}>
                {labelText(each.example.label)}
              </strong>
              <span class="hint cut">
                not <bdi>{labelText(each.firstRight ? each.secondLabel : each.firstLabel)}</bdi>
              </span>
            </li>
          );
        })}
      </ul>
      {examples.length > shown && (
        <div class="row">
          <Button size="small" onClick={() => setShown(examples.length)}>
            Show {examples.length - shown} more
          </Button>
        </div>
      )}
    </section>
  );
}

export function ComparisonView({ comparison, first, second }: { comparison: Comparison; first: string; second: string }) {
  const isNumber = comparison.first.accuracy === undefined;
  const differing = comparison.classes
    .map((each) => ({ ...each, change: each.secondRecall - each.firstRecall }))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  const shown = isNumber ? number : (value: number) => percent(value);
  const measure = isNumber ? "mean absolute error" : "accuracy";
  return (
    <div class="stack loose">
      <p class="verdict">{comparison.verdict}</p>
      <div class="tiles">
        <Tile label={`Version ${first}, ${measure}`} value={shown(comparison.first.accuracy ?? comparison.first.meanAbsoluteError ?? NaN)} />
        <Tile label={`Version ${second}, ${measure}`} value={shown(comparison.second.accuracy ?? comparison.second.meanAbsoluteError ?? NaN)} />
        {!isNumber && <Tile label={`Only ${first} is right`} value={count(comparison.onlyFirstRight)} />}
        {!isNumber && <Tile label={`Only ${second} is right`} value={count(comparison.onlySecondRight)} />}
        <Tile label="Examples" value={count(comparison.exampleCount)} />
      </div>
      {!isNumber && (
        <div class="stack">
          <div class="row spread">
            <h3>Difference in accuracy</h3>
            <span class="row">
              <span class="number">
                {signedPoints(comparison.difference)} points{" "}
                <span class="muted">
                  ({signedPoints(comparison.differenceLow)} to {signedPoints(comparison.differenceHigh)})
                </span>
              </span>
              <Badge tone={comparison.significant ? (comparison.difference < 0 ? "bad" : "good") : "neutral"}>
                {comparison.significant ? "significant" : "could be chance"}
              </Badge>
            </span>
          </div>
          <DifferenceBar value={comparison.difference} low={comparison.differenceLow} high={comparison.differenceHigh} />
        </div>
      )}
      {differing.length > 0 && (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Recall by class">
          <table>
            <thead>
              <tr>
                <th scope="col">Class</th>
                <th scope="col" class="number">
                  Examples
                </th>
                <th scope="col" class="number">
                  Recall of {first}
                </th>
                <th scope="col" class="number">
                  Recall of {second}
                </th>
                <th scope="col" class="number">
                  Change
                </th>
              </tr>
            </thead>
            <tbody>
              {differing.slice(0, SHOWN_CLASSES).map((each) => (
                <tr key={each.name}>
                  <td>
                    <bdi>{each.name}</bdi>
                  </td>
                  <td class="number">{count(each.exampleCount)}</td>
                  <td class="number">{percent(each.firstRecall)}</td>
                  <td class="number">{percent(each.secondRecall)}</td>
                  <td class={`number ${each.change > 0 ? "up" : each.change < 0 ? "down" : "muted"}`}>
                    {each.change ? signedPoints(each.change) : "0"}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

export function Tile({ label, value, note }: { label: string; value: string; note?: string }) {
  return (
    <div class="tile">
      <span class="hint">{label}</span>
      <strong class="number">{value}</strong>
      {note && <span class="hint">{note}</span>}
    </div>
  );
}
