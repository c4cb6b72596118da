import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { get, path } from "../api";
import { contentPath, exampleAt } from "../examples";
import { count, counted, labelText, number } from "../format";
import { useLoad } from "../hooks";
import { modelPath, type Place, setQuery } from "../router";
import { modalityOf, session } from "../session";
import { useStore } from "../store";
import type { ExampleMap, Version } from "../types";
import { Card, Empty, ErrorNote, Skeleton } from "../ui/basics";
import { at, AsCode, py, shell } from "../ui/code";
import { Remote } from "../ui/remote";
import { chosenVersion, type ModelData, VersionSelect } from "./model";

/** Colors that differ on light and dark grounds, also for color-blind readers; classes after the last one are gray. */
const COLORS = ["#4c7ef3", "#e8710a", "#1a9e77", "#c2418f", "#b08900", "#7a5af8", "#0ea5c6", "#d43d3d", "#6b8e23", "#a05a2c"];
const OTHER = "#8b8f9a";
const PADDING = 16;

const colorOf = (classPlace: number): string => (classPlace < 0 ? OTHER : (COLORS[classPlace] ?? OTHER));

/** The examples in two dimensions, colored by their label. */
export function MapView({ data, place }: { data: ModelData; place: Place }) {
  const version = chosenVersion(data, place.query.get("version") ?? data.model.newestVersion ?? null);
  const { model } = data.model;
  const number = version?.version ?? "";
  const { data: map, error, isSlow, reload } = useLoad(
    (signal) => get<ExampleMap>(path`/v1/models/${model}/versions/${number}/examples:map`, { signal }),
    [model, number],
  );
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const [chosen, setChosen] = useState<number>();
  useEffect(() => {
    setHidden(new Set());
    setChosen(undefined);
  }, [number]);
  if (!version) return null;
  return (
    <div class="stack">
      <div class="row wrap spread">
        <VersionSelect label="Version" data={data} value={number} onChange={(value) => setQuery({ version: value })} />
        <AsCode snippets={snippets(model, number)} />
      </div>
      {error && (error.reason === "EXAMPLES_NOT_KEPT" ? <Missing number={number} /> : <ErrorNote error={error} retry={reload} />)}
      {isSlow && <Skeleton lines={6} />}
      {map && (
        <div class="data-columns">
          <div class="stack">
            <Points map={map} hidden={hidden} chosen={chosen} onChoose={setChosen} />
            <Legend map={map} hidden={hidden} onChange={setHidden} />
            <p class="hint">
              {counted(map.exampleCount, "example")}
              {Number(map.stride) > 1 && `, of which every ${map.stride}th is shown`}. Near points look alike to the backbone. A point among those of
              another class often has a wrong label.
            </p>
          </div>
          <ChosenExample key={chosen} version={version} index={chosen === undefined ? undefined : chosen * Number(map.stride)} />
        </div>
      )}
    </div>
  );
}

const Missing = ({ number }: { number: string }) => (
  <Empty icon="map" title={`Version ${number} has no map`}>
    <p>Maps are made when a version is trained. Train from the data again to see one.</p>
  </Empty>
);

const rangeOf = (values: readonly number[]): [number, number] => [
  values.reduce((least, each) => Math.min(least, each), Infinity),
  values.reduce((most, each) => Math.max(most, each), -Infinity),
];

/** Return the color of each point, and the points by color. */
function byColor(map: ExampleMap, hidden: ReadonlySet<number>): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  const [low, high] = rangeOf(map.values);
  for (let point = 0; point < map.x.length; point++) {
    const classPlace = map.classes[point] ?? -1;
    if (hidden.has(classPlace)) continue;
    const value = map.values[point];
    const color = value === undefined ? colorOf(classPlace) : rampColor(high > low ? (value - low) / (high - low) : 0.5);
    const others = groups.get(color);
    if (others) others.push(point);
    else groups.set(color, [point]);
  }
  return groups;
}

/** Return a color between blue and orange for a number from 0 to 1. */
function rampColor(fraction: number): string {
  const step = Math.round(fraction * 10) / 10;
  const mix = (from: number, to: number) => Math.round(from + (to - from) * step);
  return `rgb(${mix(64, 240)} ${mix(110, 130)} ${mix(230, 30)})`;
}

/** The points on a canvas. Click the nearest one, or move among them with the arrow keys. */
function Points(props: { map: ExampleMap; hidden: ReadonlySet<number>; chosen: number | undefined; onChoose: (point: number | undefined) => void }) {
  const { map, hidden, chosen, onChoose } = props;
  const element = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const canvas = element.current;
    if (!canvas) return;
    const observer = new ResizeObserver(() => setSize({ width: canvas.clientWidth, height: canvas.clientHeight }));
    observer.observe(canvas);
    return () => observer.disconnect();
  }, []);
  const { width, height } = size;
  const left = (point: number) => PADDING + (((map.x[point] ?? 0) + 1) / 2) * (width - 2 * PADDING);
  const top = (point: number) => PADDING + ((1 - (map.y[point] ?? 0)) / 2) * (height - 2 * PADDING);
  useEffect(() => {
    const canvas = element.current;
    const context = canvas?.getContext("2d");
    if (!canvas || !context || !width) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    const side = map.x.length > 20_000 ? 2 : map.x.length > 2000 ? 4 : map.x.length > 300 ? 7 : 9;
    context.globalAlpha = map.x.length > 20_000 ? 0.6 : 0.8;
    for (const [color, points] of byColor(map, hidden)) {
      context.fillStyle = color;
      if (side < 5) for (const point of points) context.fillRect(left(point) - side / 2, top(point) - side / 2, side, side);
      else {
        context.beginPath();
        for (const point of points) {
          context.moveTo(left(point) + side / 2, top(point));
          context.arc(left(point), top(point), side / 2, 0, 2 * Math.PI);
        }
        context.fill();
      }
    }
  }, [map, hidden, width, height]);

  /** Return the nearest visible point; `cost` gives the distance of an offset. */
  const nearest = (x: number, y: number, cost: (dx: number, dy: number) => number): number | undefined => {
    let found: number | undefined;
    let least = Infinity;
    for (let point = 0; point < map.x.length; point++) {
      if (hidden.has(map.classes[point] ?? -1)) continue;
      const distance = cost(left(point) - x, top(point) - y);
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (event.key === "Escape") onChoose(undefined);
    if (!step) return;
    event.preventDefault();
    const [right = 0, down = 0] = step;
    if (chosen === undefined) return onChoose(nearest(width / 2, height / 2, (dx, dy) => dx * dx + dy * dy));
    // The nearest one ahead; what lies to the side counts more.
    const target = nearest(left(chosen), top(chosen), (dx, dy) => {
      const ahead = dx * right + dy * down;
      return ahead > 0.01 ? ahead + 3 * Math.abs(dx * down + dy * right) : Infinity;
    });
    if (target !== undefined) onChoose(target);
  };
  return (
    <div class="map-box">
      <canvas
        ref={element}
        class="map"
        role="img"
        tabIndex={0}
        aria-label={`Map of ${count(map.x.length)} examples. Arrow keys move from point to point.`}
        onClick={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          onChoose(nearest(event.clientX - box.left, event.clientY - box.top, (dx, dy) => dx * dx + dy * dy));
        }}
        onKeyDown={onKeyDown}
      />
      {chosen !== undefined && width > 0 && <span class="map-chosen" style={{ left: `${left(chosen)}px`, top: `${top(chosen)}px` }} />}
    </div>
  );
}

/** The classes with their colors; a click hides or shows one. */
function Legend({ map, hidden, onChange }: { map: ExampleMap; hidden: ReadonlySet<number>; onChange: (hidden: ReadonlySet<number>) => void }) {
  if (map.values.length) {
    const [low, high] = rangeOf(map.values);
    return (
      <p class="row hint">
        <span>{number(low)}</span>
        <span class="map-ramp" />
        <span>{number(high)}</span>
      </p>
    );
  }
  const toggle = (place: number) => {
    const changed = new Set(hidden);
    if (!changed.delete(place)) changed.add(place);
    onChange(changed);
  };
  return (
    <div class="row wrap" role="group" aria-label="Classes">
      {map.classNames.slice(0, 40).map((name, place) => (
        <button key={name} type="button" class="button small legend" aria-pressed={!hidden.has(place)} onClick={() => toggle(place)}>
          <span class="dot" style={{ background: colorOf(place) }} />
          <bdi class="cut">{name}</bdi>
        </button>
      ))}
      {map.classNames.length > 40 && <span class="muted">and {map.classNames.length - 40} more classes</span>}
    </div>
  );
}

function ChosenExample({ version, index }: { version: Version; index: number | undefined }) {
  const { backbones } = useStore(session);
  const kind = modalityOf(backbones, version.lineage.backbone);
  const { data: record, error, isSlow, reload } = useLoad(
    async (signal) => (index === undefined ? undefined : exampleAt(version.model, version.version, index, signal)),
    [version.model, version.version, index],
  );
  return (
    <Card class="example-panel" label="Chosen example">
      {index === undefined && <p class="muted">Click a point to see its example.</p>}
      {error && <ErrorNote error={error} retry={reload} />}
      {isSlow && index !== undefined && <Skeleton lines={4} />}
      {record && (
        <>
          <div class="example-content">
            <Remote
              target={record.hasContent ? contentPath(version.model, version.version, record.example.index, kind === "image" ? 512 : undefined) : ""}
              kind={kind}
              alt={record.example.exampleId || `Example ${record.example.index}`}
            />
          </div>
          <dl class="facts">
            <dt>ID</dt>
            <dd class="mono">{record.example.exampleId || `example ${record.example.index}`}</dd>
            <dt>Label</dt>
            <dd>
              <bdi>{labelText(record.example.label)}</bdi>
            </dd>
            <dt>Predicted</dt>
            <dd>
              <bdi>{labelText(record.predictedLabel)}</bdi>
            </dd>
          </dl>
          {record.example.exampleId && (
            <a class="link" href={modelPath(version.model, "data", { version: version.version, issue: "all", id: record.example.exampleId })}>
              Fix it in the data
            </a>
          )}
        </>
      )}
    </Card>
  );
}

function snippets(model: string, version: string) {
  return {
    python: `from headstart import Client

with Client() as client:
    found = client.model(${py(model)})[${version || 1}].example_map()
    for point, (x, y) in enumerate(zip(found.x, found.y)):
        print(x, y, found.label(point))`,
    cli: `headstart -o csv example map ${shell(`${model}@${version || 1}`)}`,
    curl: `curl ${at(path`/v1/models/${model}/versions/${version || 1}/examples:map`)}`,
  };
}
