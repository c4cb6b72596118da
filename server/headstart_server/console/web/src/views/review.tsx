import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, call, get, path, withQuery } from "../api";
import { ago, count, counted, labelText, percent, uniqueId } from "../format";
import { useKeys, useLoad } from "../hooks";
import { may, session } from "../session";
import { useStore } from "../store";
import type { ClassProbability, Label } from "../types";
import { Badge, Button, Card, Empty, ErrorNote, Skeleton } from "../ui/basics";
import { Bars } from "../ui/charts";
import { AsCode, py, shell } from "../ui/code";
import { Remote } from "../ui/remote";
import { toast } from "../ui/toasts";
import { Tile } from "./comparison";
import { classOfKey, Relabel } from "./example-panel";
import { chosenVersion, type ModelData } from "./model";
import { CaptureDialog, RetrainDialog } from "./policies";

interface ReviewEntry {
  capturedInput: {
    predictionId: string;
    version: string;
    createTime: string;
    predicted?: Label;
    classes: ClassProbability[];
    typicality?: number;
    randomSample: boolean;
    modality: string;
  };
  reason: string;
  nearDuplicateCount: string;
}

interface Page {
  entries: ReviewEntry[];
  nextPageToken: string;
  status: Record<string, string | undefined>;
}

interface Summary {
  total?: { accuracy?: number; accuracyLow?: number; accuracyHigh?: number; sampleCount: string; answerCount: string };
  counts: { state: string; count: string }[];
}

type Answer = { label: Label } | { confirmed: true } | { rejected: true };

const REASONS: Record<string, string> = {
  REVIEW_REASON_UNCERTAIN: "the model is uncertain",
  REVIEW_REASON_NOVEL: "unlike the training examples",
  REVIEW_REASON_DISAGREEMENT: "versions disagree",
  REVIEW_REASON_RARE_CLASS: "rare class",
  REVIEW_REASON_REPRESENTATIVE: "represents many others",
};
const PAGE = 100;
const STRIP = 12;

/** Answer the captured inputs from which the model learns the most. */
export function ReviewView({ data }: { data: ModelData }) {
  const { model, capture, retrain } = data.model;
  const [dialog, setDialog] = useState<"capture" | "retrain">();
  const { caller } = useStore(session);
  const canTrain = may(caller, "RIGHT_TRAIN", model);
  const [turn, setTurn] = useState(0);
  const summary = useLoad((signal) => get<Summary>(path`/v1/models/${model}/feedback/summary`, { signal }), [model, turn]);
  const first = useLoad((signal) => get<Page>(withQuery(path`/v1/models/${model}/review`, { pageSize: PAGE }), { signal }), [model]);
  const status = first.data?.status;
  const pending = Number(summary.data?.counts?.find((each) => each.state === "FEEDBACK_STATE_PENDING")?.count ?? 0);
  const total = summary.data?.total;
  return (
    <div class="stack loose">
      <div class="row wrap spread">
        <div class="row wrap">
          <Badge tone={capture ? "good" : "neutral"}>{capture ? "capturing" : "capture off"}</Badge>
          <Badge tone={retrain ? "good" : "neutral"}>{retrain ? `retrains ${retrain.alias}` : "automatic retraining off"}</Badge>
        </div>
        <div class="row wrap">
          {canTrain && <Button onClick={() => setDialog("capture")}>Capture…</Button>}
          {canTrain && <Button onClick={() => setDialog("retrain")}>Retraining…</Button>}
          <AsCode snippets={snippets(model)} />
        </div>
      </div>
      {first.error && <ErrorNote error={first.error} retry={first.reload} />}
      {first.isSlow && <Skeleton lines={4} />}
      {first.data && (
        <div class="tiles">
          <Tile label="Captured" value={count(status?.capturedCount)} />
          <Tile
            label="Accuracy in production"
            value={percent(total?.accuracy)}
            note={total?.accuracy === undefined ? "answer inputs of the random sample" : `${percent(total.accuracyLow, 0)} to ${percent(total.accuracyHigh, 0)}, ${counted(total.sampleCount, "answer")}`}
          />
          <Tile label="Waiting for training" value={count(pending)} note={!retrain && pending ? "turn retraining on to learn them" : undefined} />
        </div>
      )}
      {first.data && first.data.entries.length === 0 && (
        <Empty icon={capture ? "check" : "eye"} title={capture ? "Nothing to review" : "No inputs are captured"}>
          <p>
            {capture
              ? "Captured inputs appear here when requests come in."
              : "Turn capture on to store a sample of the inputs that the model is least certain about."}
          </p>
          {!capture && canTrain && (
            <p>
              <Button kind="primary" icon="eye" onClick={() => setDialog("capture")}>
                Turn capture on
              </Button>
            </p>
          )}
        </Empty>
      )}
      {first.data && first.data.entries.length > 0 && <Queue key={model} data={data} first={first.data} onAnswer={() => setTurn((old) => old + 1)} />}
      {dialog === "capture" && <CaptureDialog data={data} onClose={() => setDialog(undefined)} />}
      {dialog === "retrain" && <RetrainDialog data={data} onClose={() => setDialog(undefined)} />}
    </div>
  );
}

/** One input after another, answered with a key. */
function Queue({ data, first, onAnswer }: { data: ModelData; first: Page; onAnswer: () => void }) {
  const { model } = data.model;
  const [entries, setEntries] = useState(first.entries);
  const token = useRef(first.nextPageToken);
  const place = useRef(0);
  const [, redraw] = useState(0);
  const answered = useRef(0);
  const version = chosenVersion(data, null);
  const { caller } = useStore(session);
  const canAnswer = may(caller, "RIGHT_FEEDBACK", model);
  const go = (target: number) => {
    place.current = Math.max(0, target);
    redraw((old) => old + 1);
  };
  const isNearEnd = place.current > entries.length - STRIP;
  useEffect(() => {
    const next = token.current;
    if (!isNearEnd || !next) return;
    token.current = "";
    get<Page>(withQuery(path`/v1/models/${model}/review`, { pageSize: PAGE, pageToken: next }))
      .then((page) => {
        token.current = page.nextPageToken;
        setEntries((old) => [...old, ...page.entries]);
      })
      .catch((error: Error) => toast(error.message, "bad"));
  }, [isNearEnd]);
  const answer = (value: Answer) => {
    const entry = entries[place.current];
    if (!entry || !canAnswer) return;
    const at = place.current;
    go(at + 1);
    answered.current++;
    const body = { predictionId: entry.capturedInput.predictionId, requestId: uniqueId(), ...value };
    call("POST", path`/v1/models/${model}/feedback`, body).then(onAnswer, (error: unknown) => {
      answered.current--;
      toast(error instanceof ApiError ? error.message : String(error), "bad");
      go(Math.min(place.current, at));
    });
  };
  const names = version?.task === "TASK_SINGLE_LABEL" ? version.classNames : [];
  useKeys((event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = classOfKey(names, event.key);
    if (name !== undefined) answer({ label: { className: name } });
    else if (event.key === "Enter" || event.key === " ") {
      if (event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement) return;
      answer({ confirmed: true });
    } else if (event.key === "Backspace") answer({ rejected: true });
    else if (event.key === "ArrowRight") go(Math.min(entries.length, place.current + 1));
    else if (event.key === "ArrowLeft") go(place.current - 1);
    else return;
    event.preventDefault();
  });
  const entry = entries[place.current];
  if (!entry) {
    return (
      <Empty icon="check" title="All reviewed">
        <p>{counted(answered.current, "answer")} sent in this visit.</p>
      </Empty>
    );
  }
  const { capturedInput: input } = entry;
  return (
    <Card class="review" label="Captured input">
      <div class="review-content">
        <Remote target={captured(model, input.predictionId, input.modality, 512)} kind={kindOf(input.modality)} alt="The captured input" />
      </div>
      <div class="stack">
        <div class="row wrap">
          <Badge tone="accent">{REASONS[entry.reason] ?? "selected"}</Badge>
          {input.randomSample && <Badge title="Counts for the accuracy in production">random sample</Badge>}
          {Number(entry.nearDuplicateCount) > 0 && <Badge>{count(entry.nearDuplicateCount)} similar</Badge>}
        </div>
        <strong class="answer">{labelText(input.predicted)}</strong>
        <p class="hint">
          Predicted by version {input.version} · {ago(input.createTime)}
        </p>
        {input.classes.length > 0 && (
          <Bars
            label="Probabilities"
            bars={input.classes.slice(0, 4).map((each) => ({ name: each.name, value: each.probability, isSelected: each.selected }))}
          />
        )}
        {canAnswer && (
          <>
            <h2>What is it?</h2>
            {names.length > 0 && (
              <Relabel names={names} current="" suggested={input.predicted?.className} onChoose={(className) => answer({ label: { className } })} />
            )}
            <div class="row wrap">
              <Button kind="primary" icon="check" onClick={() => answer({ confirmed: true })}>
                Right
              </Button>
              <Button icon="close" onClick={() => answer({ rejected: true })}>
                Wrong
              </Button>
              <Button kind="ghost" icon="right" onClick={() => go(place.current + 1)}>
                Skip
              </Button>
            </div>
            <p class="hint">
              <span class="kbd">Space</span> right, <span class="kbd">⌫</span> wrong, <span class="kbd">→</span> skip
            </p>
          </>
        )}
      </div>
      <ul class="strip" aria-label="Next inputs">
        {entries.slice(place.current + 1, place.current + 1 + STRIP).map((each) => (
          <li key={each.capturedInput.predictionId} class="thumb">
            <Remote target={captured(model, each.capturedInput.predictionId, each.capturedInput.modality, 64)} kind={kindOf(each.capturedInput.modality)} alt="" />
          </li>
        ))}
      </ul>
    </Card>
  );
}

const kindOf = (modality: string) => (modality === "MODALITY_TEXT" ? "text" : modality === "MODALITY_TENSOR" ? "numbers" : "image");

const captured = (model: string, id: string, modality: string, size: number): string =>
  withQuery(path`/v1/models/${model}/captured/${id}`, { thumbnailSize: kindOf(modality) === "image" ? size : undefined });

function snippets(model: string) {
  const url = `${location.origin}/v1/models/${encodeURIComponent(model)}`;
  return {
    python: `from headstart import Client

with Client() as client:
    for entry in client.review(${py(model)}):
        print(entry)`,
    cli: `headstart review ${shell(model)}\nheadstart feedback --help`,
    curl: `curl ${shell(`${url}/review`)}
curl -H 'content-type: application/json' \\
  -d '{"predictionId": "ID", "label": {"className": "cat"}}' ${shell(`${url}/feedback`)}`,
  };
}
