import type { Metrics } from "../types";
import { count, number, percent } from "../format";

/** The accuracy with its 95 % interval on a line from 0 to 100 %. */
export function AccuracyMeter({ metrics, isLarge }: { metrics: Metrics | undefined; isLarge?: boolean }) {
  if (!metrics || metrics.source === "METRICS_SOURCE_NONE") return <p class="muted">Too few examples to measure</p>;
  if (metrics.accuracy === undefined) {
    return (
      <div class={isLarge ? "measure large" : "measure"}>
        <strong>{metrics.meanAbsoluteError === undefined ? "–" : number(metrics.meanAbsoluteError)}</strong>
        <span class="muted">mean absolute error</span>
      </div>
    );
  }
  const low = metrics.accuracyLow ?? metrics.accuracy;
  const high = metrics.accuracyHigh ?? metrics.accuracy;
  return (
    <div class={isLarge ? "measure large" : "measure"} title={`Measured on ${count(metrics.exampleCount)} examples`}>
      <strong>{percent(metrics.accuracy)}</strong>
      <span class="muted">
        {percent(low, 0).replace("%", "")}–{percent(high, 0)}
      </span>
      <svg class="interval" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="interval-ground" x="0" y="3" width="100" height="2" rx="1" />
        <rect class="interval-span" x={low * 100} y="1.5" width={Math.max(1, (high - low) * 100)} height="5" rx="1.5" />
        <rect class="interval-value" x={metrics.accuracy * 100 - 0.6} y="0" width="1.2" height="8" />
      </svg>
    </div>
  );
}

export interface Bar {
  name: string;
  value: number;
  isSelected?: boolean;
  text?: string;
}

/** Horizontal bars of probabilities. */
export function Bars({ bars, label }: { bars: readonly Bar[]; label: string }) {
  return (
    <ul class="bars" aria-label={label}>
      {bars.map((each) => (
        <li key={each.name} class={each.isSelected ? "selected" : ""}>
          <span class="bar-name" title={each.name}>
            <bdi>{each.name}</bdi>
          </span>
          <span class="bar-track" aria-hidden="true">
            <span class="bar-fill" style={{ width: `${Math.min(100, Math.max(0, each.value * 100))}%` }} />
          </span>
          <span class="bar-value">{each.text ?? percent(each.value)}</span>
        </li>
      ))}
    </ul>
  );
}

/** A small line of counts over time. */
export function Sparkline({ values, label }: { values: readonly number[]; label: string }) {
  const most = Math.max(1, ...values);
  const step = 100 / Math.max(1, values.length - 1);
  const points = values.map((value, place) => `${(place * step).toFixed(1)},${(27 - (value / most) * 24).toFixed(1)}`);
  return (
    <svg class="sparkline" viewBox="0 0 100 28" preserveAspectRatio="none" role="img" aria-label={label}>
      <path class="spark-area" d={`M0,28 L${points.join(" L")} L100,28 Z`} />
      <polyline class="spark-line" points={points.join(" ")} />
    </svg>
  );
}

/** The learning curve; the last point is extrapolated. */
export function LearningCurve({ points }: { points: readonly { exampleCount: string; score: number; extrapolated: boolean }[] }) {
  if (points.length < 2) return null;
  const most = Math.max(...points.map((each) => Number(each.exampleCount)));
  const scores = points.map((each) => each.score);
  const low = Math.min(...scores) - 0.02;
  const high = Math.max(...scores) + 0.02;
  const place = (each: { exampleCount: string; score: number }) =>
    `${((Number(each.exampleCount) / most) * 100).toFixed(1)},${(58 - ((each.score - low) / (high - low)) * 56).toFixed(1)}`;
  const measured = points.filter((each) => !each.extrapolated);
  const rest = points.slice(measured.length - 1);
  return (
    <figure class="curve">
      <svg viewBox="0 0 100 60" preserveAspectRatio="none" aria-hidden="true">
        <polyline class="spark-line" points={measured.map(place).join(" ")} />
        <polyline class="spark-line dashed" points={rest.map(place).join(" ")} />
      </svg>
      <figcaption class="hint">
        {percent(scores[0])} with {count(points[0]?.exampleCount)} examples, about {percent(scores.at(-1))} with{" "}
        {count(points.at(-1)?.exampleCount)}
      </figcaption>
    </figure>
  );
}

/** A difference with its interval around zero, for comparisons. */
export function DifferenceBar({ value, low, high }: { value: number; low: number; high: number }) {
  const reach = Math.max(Math.abs(low), Math.abs(high), 0.02) * 1.15;
  const x = (each: number) => 50 + (each / reach) * 50;
  return (
    <svg class="difference" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">
      <rect class="interval-ground" x="0" y="5.5" width="100" height="1" />
      <rect class="zero" x="49.8" y="0" width="0.4" height="12" />
      <rect class={value < 0 ? "negative" : "positive"} x={x(low)} y="4" width={Math.max(0.6, x(high) - x(low))} height="4" rx="1.5" />
      <rect class="interval-value" x={x(value) - 0.4} y="1.5" width="0.8" height="9" />
    </svg>
  );
}
