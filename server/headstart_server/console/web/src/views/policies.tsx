import { useState } from "preact/hooks";

import { call, path } from "../api";
import { useAction } from "../hooks";
import type { CapturePolicy, RetrainPolicy } from "../types";
import { Button, ErrorNote, Field, Switch } from "../ui/basics";
import { Dialog } from "../ui/dialog";
import type { ModelData } from "./model";

const CAPTURE: CapturePolicy = { randomFraction: 0.05, maxMargin: 0.3, maxTypicality: 0.05, rareClassFraction: 0, shadowDisagreement: false };
const RETRAIN: RetrainPolicy = { alias: "stable", minFeedbackCount: "20" };

/** Save a policy of a model; undefined turns it off. */
async function save(data: ModelData, name: "capture" | "retrain", policy: object | undefined): Promise<void> {
  await call("PATCH", path`/v1/models/${data.model.model}`, { ...(policy ? { [name]: policy } : {}), updateMask: name });
  data.reload();
}

export function CaptureDialog({ data, onClose }: { data: ModelData; onClose: () => void }) {
  const [isOn, setOn] = useState(true);
  const [policy, setPolicy] = useState<CapturePolicy>(data.model.capture ?? CAPTURE);
  const set = (changes: Partial<CapturePolicy>) => setPolicy({ ...policy, ...changes });
  const action = useAction(async () => {
    await save(data, "capture", isOn ? policy : undefined);
    onClose();
  });
  return (
    <PolicyDialog title="Capture inputs" action={action} onClose={onClose}>
      <Switch label="Capture inputs of this model" checked={isOn} onChange={setOn} />
      {isOn && (
        <>
          <Share
            label="Random sample"
            hint="Measures the accuracy in production without bias."
            value={policy.randomFraction}
            onChange={(randomFraction) => set({ randomFraction })}
          />
          <Share
            label="Uncertain: margin at most"
            hint="Captures inputs whose two most probable classes are this close."
            value={policy.maxMargin}
            onChange={(maxMargin) => set({ maxMargin })}
          />
          <Share
            label="Unusual: typicality at most"
            hint="Captures inputs that are unlike the training examples."
            value={policy.maxTypicality}
            onChange={(maxTypicality) => set({ maxTypicality })}
          />
          <Switch label="Capture when the shadow disagrees" checked={policy.shadowDisagreement} onChange={(shadowDisagreement) => set({ shadowDisagreement })} />
        </>
      )}
    </PolicyDialog>
  );
}

export function RetrainDialog({ data, onClose }: { data: ModelData; onClose: () => void }) {
  const [isOn, setOn] = useState(true);
  const [policy, setPolicy] = useState<RetrainPolicy>(data.model.retrain ?? RETRAIN);
  const action = useAction(async () => {
    const { webhook: _, ...kept } = policy;
    await save(data, "retrain", isOn ? kept : undefined);
    onClose();
  });
  return (
    <PolicyDialog title="Automatic retraining" action={action} onClose={onClose}>
      <Switch label="Retrain from feedback" checked={isOn} onChange={setOn} />
      {isOn && (
        <>
          <Field label="Alias" hint="Its version is the parent. It moves if the new version is not worse.">
            {(id) => <input id={id} class="input" value={policy.alias} onInput={(event) => setPolicy({ ...policy, alias: event.currentTarget.value.trim() })} />}
          </Field>
          <Field label="After this many answers">
            {(id) => (
              <input
                id={id}
                class="input"
                type="number"
                min={1}
                value={policy.minFeedbackCount ?? ""}
                onInput={(event) => setPolicy({ ...policy, minFeedbackCount: event.currentTarget.value || undefined })}
              />
            )}
          </Field>
        </>
      )}
    </PolicyDialog>
  );
}

function PolicyDialog(props: {
  title: string;
  action: { run: () => Promise<void>; isRunning: boolean; error?: string };
  onClose: () => void;
  children: preact.ComponentChildren;
}) {
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>Cancel</Button>
          <Button kind="primary" isBusy={props.action.isRunning} onClick={() => void props.action.run()}>
            Save
          </Button>
        </>
      }
    >
      {props.children}
      {props.action.error && <ErrorNote error={props.action.error} />}
    </Dialog>
  );
}

function Share(props: { label: string; hint: string; value: number; onChange: (value: number) => void }) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id) => (
        <div class="row">
          <input
            id={id}
            type="range"
            min={0}
            max={100}
            value={Math.round(props.value * 100)}
            onInput={(event) => props.onChange(Number(event.currentTarget.value) / 100)}
          />
          <output class="number share">{Math.round(props.value * 100)}%</output>
        </div>
      )}
    </Field>
  );
}
