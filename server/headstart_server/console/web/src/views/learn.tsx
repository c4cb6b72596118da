import { useEffect, useRef } from "preact/hooks";

import { ApiError } from "../api";
import { change, type Draft, draft, emptyDraft, exampleCount, missing, send, sizeOf } from "../draft";
import { count, counted, percent, seconds, span } from "../format";
import { failureOf, followJob, stepText } from "../jobs";
import { modelPath, navigate } from "../router";
import { loadModels, models, owner } from "../session";
import { useStore } from "../store";
import type { Job, Validation } from "../types";
import { Button, Card, ErrorNote, Field, LinkButton, Note, Progress, Switch } from "../ui/basics";
import { AccuracyMeter, LearningCurve } from "../ui/charts";
import { Icon } from "../ui/icons";
import { TrainedVersion } from "./trained";

/** Examples up to this size are checked without a click. */
const CHECKED_BYTES = 64 << 20;
const CHECK_DELAY_MS = 500;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$/;

let checking: AbortController | undefined;
owner.subscribe(() => checking?.abort());

async function check(): Promise<void> {
  checking?.abort();
  const controller = (checking = new AbortController());
  change({ check: { isRunning: true } });
  try {
    const of = { ...draft.value, model: draft.value.model || "draft" };
    const { validation } = await send<{ validation: Validation }>(of, { validateOnly: true, signal: controller.signal });
    change({ check: { isRunning: false, validation } });
  } catch (error) {
    if (!controller.signal.aborted) change({ check: { isRunning: false, error: messageOf(error) } });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function train(): Promise<void> {
  checking?.abort();
  const sender = owner.value;
  const update = (changes: NonNullable<Draft["training"]>) => {
    if (owner.value === sender) draft.update((old) => ({ ...old, training: { ...old.training, ...changes } }));
  };
  change({ check: undefined, training: { uploaded: 0 } });
  try {
    const { job } = await send<{ job: Job }>(draft.value, { onProgress: (uploaded) => update({ uploaded }) });
    update({ uploaded: 1, job });
    const ended = await followJob(job.jobId, (event) => update({ uploaded: 1, event }), new AbortController().signal);
    update({ uploaded: 1, job: ended, error: failureOf(ended) });
    await loadModels();
  } catch (error) {
    const text = error instanceof ApiError && error.isForbidden ? `${error.message} Open Access to see your rights.` : messageOf(error);
    update({ uploaded: 0, error: text });
  }
}

/** The second and third step: check, train, try. */
export function LearnPanel({ current }: { current: Draft }) {
  const lacking = missing(current);
  const { training } = current;
  const isRunning = training !== undefined && !training.error && training.job?.version === undefined;
  const key = JSON.stringify([current.mode, current.uri, current.file?.name, current.classes.map((each) => [each.items.length, each.lines.length])]);
  const checkedKey = useRef(key);
  useEffect(() => {
    if (checkedKey.current === key) return;
    checkedKey.current = key;
    change({ check: undefined });
    if (current.mode === "uri" || lacking || training || sizeOf(current) > CHECKED_BYTES) return;
    const timer = setTimeout(() => void check(), CHECK_DELAY_MS);
    return () => clearTimeout(timer);
  }, [key, lacking]);
  useEffect(() => {
    if (training || !exampleCount(current)) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [training, exampleCount(current) > 0]);
  const nameError = current.model && !NAME.test(current.model) ? "Use letters, digits, dots, hyphens and underscores." : "";
  const exists = useStore(models)?.some((each) => each.model === current.model);
  const nameHint = exists ? "This model exists. It gets a new version, trained on these examples only." : "";
  if (training?.job?.version !== undefined) {
    return (
      <aside class="learn" aria-label="Learn">
        <TrainedVersion model={training.job.spec.model} job={training.job} />
        <div class="row wrap">
          <LinkButton href={modelPath(training.job.spec.model)} kind="primary" icon="right">
            Open the model
          </LinkButton>
          <Button onClick={() => draft.set(emptyDraft())}>Start another</Button>
        </div>
      </aside>
    );
  }
  return (
    <aside class="learn" aria-label="Learn">
      <Card title="Learn">
        {!current.parent && (
          <Field label="Name of the model" hint={nameError || nameHint}>
            {(id) => (
              <input
                id={id}
                class="input"
                value={current.model}
                placeholder="pets"
                aria-invalid={Boolean(nameError)}
                onInput={(event) => change({ model: event.currentTarget.value.trim() })}
              />
            )}
          </Field>
        )}
        <Switch label="Serve it as stable" checked={current.isStable} onChange={(isStable) => change({ isStable })} hint="Moves the alias stable to the new version" />
        {training && <Training training={training} />}
        {training?.error && <ErrorNote error={training.error} />}
        <Button
          kind="primary"
          class="wide"
          icon="spark"
          isBusy={isRunning}
          disabled={Boolean(lacking || nameError)}
          onClick={() => {
            if (!current.model) change({ model: suggestedName(current) });
            // The page of models changes with the first model.
            if (location.pathname === "/") navigate("/new", { replace: true });
            void train();
          }}
        >
          {isRunning ? "Training…" : "Train"}
        </Button>
        {lacking && !isRunning && <p class="hint">{lacking}</p>}
      </Card>
      {!isRunning && !lacking && <CheckCard current={current} />}
    </aside>
  );
}

/** Return a name for a model without one: of its classes. */
function suggestedName(of: Draft): string {
  const names = of.classes.filter((each) => each.items.length || each.lines).map((each) => each.name);
  const text = (of.mode === "images" || of.mode === "texts" ? names.join("-") : (of.file?.name ?? "model").replace(/\.\w+$/, ""))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+|-+$/g, "")
    .slice(0, 40);
  return text || "model";
}

const STEPS = ["JOB_STEP_FEATURES", "JOB_STEP_FIT", "JOB_STEP_EVALUATE", "JOB_STEP_PUBLISH"];

/** The live steps of the training. */
function Training({ training }: { training: NonNullable<Draft["training"]> }) {
  const { event, job, uploaded, error } = training;
  if (error) return null;
  const step = STEPS.indexOf(event?.progress?.step ?? "");
  const fraction = job ? (event?.progress?.fraction ?? 0) : uploaded * 0.3;
  const lines = [{ text: "Uploading", isDone: job !== undefined, isOn: job === undefined }].concat(
    STEPS.map((each, place) => ({ text: stepText(each), isDone: step > place, isOn: job !== undefined && step === place })),
  );
  return (
    <div class="stack" role="status" aria-live="polite">
      <Progress fraction={fraction} label="Progress of the training" />
      <ol class="steps">
        {lines.map((each) => (
          <li key={each.text} class={each.isDone ? "done" : each.isOn ? "on" : ""}>
            {each.isDone ? <Icon name="check" /> : <span class={each.isOn ? "dot live" : "dot"} />}
            {each.text}
          </li>
        ))}
      </ol>
    </div>
  );
}

function CheckCard({ current }: { current: Draft }) {
  const state = current.check;
  if (!state) {
    return (
      <Card title="Check">
        <p class="muted">Estimate the accuracy and find wrong labels, before you train.</p>
        <Button icon="search" onClick={() => void check()}>
          Check the examples
        </Button>
      </Card>
    );
  }
  if (state.isRunning) {
    return (
      <Card title="Check">
        <Progress fraction={undefined} label="Checking the examples" />
        <p class="muted">Checking the examples…</p>
      </Card>
    );
  }
  return (
    <Card title="Check" actions={<Button size="small" onClick={() => void check()}>Again</Button>}>
      {state.error && <ErrorNote error={state.error} />}
      {state.validation && <Verdict validation={state.validation} />}
    </Card>
  );
}

/** The verdict first, then what it rests on. */
export function Verdict({ validation }: { validation: Validation }) {
  const { findings, evaluation, faults, faultCount } = validation;
  return (
    <div class="stack">
      {validation.valid ? <p class="verdict">{verdictText(validation)}</p> : <ErrorNote error={validation.message} />}
      {evaluation && <AccuracyMeter metrics={evaluation.metrics} />}
      {findings && <LearningCurve points={findings.learningCurve} />}
      {Number(faultCount) > 0 && (
        <Note tone="bad">
          <p>
            {counted(faultCount, "file")} cannot be used, such as {faults[0]?.exampleId || `number ${count(faults[0]?.index)}`}: {faults[0]?.message}
          </p>
        </Note>
      )}
      <ul class="advice">
        {[...validation.warnings, ...(findings?.recommendations ?? []).map((each) => each.message)].slice(0, 6).map((each) => (
          <li key={each}>{each}</li>
        ))}
      </ul>
      {findings?.estimatedDuration && <p class="hint">Training takes about {span(seconds(findings.estimatedDuration))}.</p>}
    </div>
  );
}

export function verdictText({ evaluation, findings }: Validation): string {
  const parts: string[] = [];
  const accuracy = evaluation?.metrics.accuracy;
  parts.push(accuracy === undefined ? "Ready to train" : `About ${percent(accuracy, 0)} accurate`);
  const issues = Number(findings?.labelIssueCount ?? 0);
  if (issues) parts.push(`${counted(issues, "label")} ${issues === 1 ? "looks" : "look"} wrong`);
  const curve = findings?.learningCurve ?? [];
  const last = curve.findLast((each) => !each.extrapolated);
  const next = curve.findLast((each) => each.extrapolated);
  const points = last && next ? Math.round((next.score - last.score) * 100) : 0;
  if (points >= 1) parts.push(`twice the data would add about ${counted(points, "point")}`);
  return `${parts.join("; ")}.`;
}
