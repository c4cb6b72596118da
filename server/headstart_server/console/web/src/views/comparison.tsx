import { call } from "../api";
import { count, number, percent, signedPoints } from "../format";
import { useLoad } from "../hooks";
import { setQuery } from "../router";
import type { Comparison } from "../types";
import { Badge, Button, Card, ErrorNote, Skeleton } from "../ui/basics";
import { DifferenceBar } from "../ui/charts";
import type { ModelData } from "./model";

const SHOWN_CLASSES = 40;

/** Compare two versions on the stored examples of both. */
export function ComparisonCard({ data, first, second }: { data: ModelData; first: string; second: string }) {
  const { model } = data.model;
  const { data: found, error, isSlow, reload } = useLoad(
    (signal) =>
      call<{ comparison: Comparison }>(
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
    </Card>
  );
}

export function ComparisonView({ comparison, first, second }: { comparison: Comparison; first: string; second: string }) {
  const isNumber = comparison.first.accuracy === undefined;
  const differing = comparison.classes
    .map((each) => ({ ...each, change: each.secondRecall - each.firstRecall }))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  const shown = isNumber ? number : (value: number) => percent(value);
  return (
    <div class="stack loose">
      <p class="verdict">{comparison.verdict}</p>
      <div class="tiles">
        <Tile label={`Version ${first}`} value={shown(comparison.first.accuracy ?? comparison.first.meanAbsoluteError ?? NaN)} />
        <Tile label={`Version ${second}`} value={shown(comparison.second.accuracy ?? comparison.second.meanAbsoluteError ?? NaN)} />
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
                  <td>{each.name}</td>
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
