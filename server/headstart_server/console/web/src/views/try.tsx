import { useState } from "preact/hooks";

import { base64 } from "../files";
import { counted } from "../format";
import { useAction } from "../hooks";
import { type InputValue, learn, type PredictOptions } from "../predict";
import { modelPath, type Place, setQuery } from "../router";
import { may, modalityOf, session } from "../session";
import { useStore } from "../store";
import type { Version, VersionPredictions } from "../types";
import { Button, Card, ErrorNote, Switch } from "../ui/basics";
import { AsCode, py, shell } from "../ui/code";
import { confirm } from "../ui/dialog";
import { toast } from "../ui/toasts";
import { chosenVersion, type ModelData, VersionSelect } from "./model";
import { Neighbors } from "./neighbors";
import { PredictionView } from "./prediction";
import { type Answer, TryPanel } from "./try-panel";

interface Correction {
  input: InputValue;
  label: string;
}

/** Try a version, next to another one if wanted, and correct what is wrong. */
export function TryView({ data, place }: { data: ModelData; place: Place }) {
  const version = chosenVersion(data, place.query.get("version"));
  const other = data.versions.find((each) => each.version === place.query.get("with"));
  const { caller, backbones } = useStore(session);
  const [options, setOptions] = useState<PredictOptions>({});
  const [corrections, setCorrections] = useState<Correction[]>([]);
  if (!version) return null;
  const { model } = data.model;
  const canTrain = may(caller, "RIGHT_TRAIN", model) && version.hasExamples && version.task === "TASK_SINGLE_LABEL";
  const isImage = modalityOf(backbones, version.lineage.backbone) === "image";
  const targets = [version, ...(other ? [other] : [])].map((each) => ({ model, version: each.version }));
  const set = (changes: PredictOptions) => setOptions((old) => ({ ...old, ...changes }));
  return (
    <div class="stack loose">
      <div class="row wrap spread">
        <div class="row wrap">
          <VersionSelect label="Version" data={data} value={version.version} onChange={(value) => setQuery({ version: value })} />
          {data.versions.length > 1 && (
            <VersionSelect label="Compare with" data={data} value={other?.version ?? ""} none="–" onChange={(value) => setQuery({ with: value })} />
          )}
        </div>
        <AsCode snippets={snippets(model, version.version, isImage)} />
      </div>
      <Card class="try-wide" label="Try">
        <div class="row wrap options">
          <Switch label="Unknown inputs" checked={options.unknown ?? false} onChange={(unknown) => set({ unknown })} hint="Report inputs that are unlike the training examples" />
          {isImage && (
            <Switch label="Explanation" checked={options.saliency ?? false} onChange={(saliency) => set({ saliency })} hint="Show which parts of the image support the answer" />
          )}
          <Switch label="Similar examples" checked={(options.neighbors ?? 0) > 0} onChange={(on) => set({ neighbors: on ? 6 : 0 })} hint="Show the nearest training examples" />
        </div>
        <TryPanel
          version={version}
          targets={targets}
          options={options}
          renderAnswer={(answer) => (
            <Answers
              answer={answer}
              versions={[version, ...(other ? [other] : [])]}
              onCorrect={canTrain ? (label) => setCorrections((old) => [...old, { input: answer.input, label }]) : undefined}
            />
          )}
        />
      </Card>
      {corrections.length > 0 && (
        <CorrectionTray model={model} version={version.version} corrections={corrections} onDone={() => setCorrections([])} />
      )}
    </div>
  );
}

function Answers({ answer, versions, onCorrect }: { answer: Answer; versions: Version[]; onCorrect?: (label: string) => void }) {
  const { results } = answer.response;
  return (
    <div class="stack loose">
      <div class={results.length > 1 ? "two" : ""}>
        {results.map((result: VersionPredictions) => (
          <section key={result.version} class="stack" aria-label={`Version ${result.version}`}>
            {results.length > 1 && <h2 class="small muted">Version {result.version}</h2>}
            <PredictionView result={result} />
            {(result.predictions[0]?.neighbors.length ?? 0) > 0 && <Neighbors result={result} version={versions.find((each) => each.version === result.version) ?? versions[0]!} />}
          </section>
        ))}
      </div>
      {onCorrect && versions[0] && (
        <Correct key={JSON.stringify(results[0]?.predictions[0]?.classes)} classNames={versions[0].classNames} onCorrect={onCorrect} />
      )}
    </div>
  );
}

const BUTTONS = 8;

/** One click adds the input to the next version's examples. */
function Correct({ classNames, onCorrect }: { classNames: string[]; onCorrect: (label: string) => void }) {
  const [chosen, setChosen] = useState("");
  const choose = (label: string) => {
    setChosen(label);
    onCorrect(label);
  };
  if (chosen) return <p class="muted">Added as <bdi>{chosen}</bdi> to the next version.</p>;
  return (
    <div class="row wrap" role="group" aria-label="Correct the answer">
      <span class="label">It is</span>
      {classNames.slice(0, BUTTONS).map((each) => (
        <Button key={each} size="small" kind="plain" onClick={() => choose(each)}>
          <bdi>{each}</bdi>
        </Button>
      ))}
      {classNames.length > BUTTONS && (
        <select class="input" aria-label="Another class" value="" onChange={(event) => event.currentTarget.value && choose(event.currentTarget.value)}>
          <option value="">Another class</option>
          {classNames.slice(BUTTONS).map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      )}
    </div>
  );
}

/** The inputs that the next version learns. */
function CorrectionTray(props: { model: string; version: string; corrections: Correction[]; onDone: () => void }) {
  const action = useAction(async () => {
    await learn(props.model, props.version, props.corrections, base64);
    toast(`${counted(props.corrections.length, "example")} sent. The next version appears in a moment.`, "good", modelPath(props.model, "versions"));
    props.onDone();
  });
  const discard = async () => {
    const text = "The next version does not learn them. It cannot be undone.";
    if (await confirm(`Discard ${counted(props.corrections.length, "example")}?`, text, "Discard")) props.onDone();
  };
  return (
    <div class="tray" role="region" aria-label="Corrections">
      <strong>{counted(props.corrections.length, "new example")}</strong>
      <span class="muted cut">{[...new Set(props.corrections.map((each) => each.label))].join(", ")}</span>
      {action.error && <ErrorNote error={action.error} />}
      <span class="row">
        <Button kind="ghost" onClick={() => void discard()}>
          Discard
        </Button>
        <Button kind="primary" icon="spark" isBusy={action.isRunning} onClick={() => void action.run()}>
          Train a new version
        </Button>
      </span>
    </div>
  );
}

function snippets(model: string, version: string, isImage: boolean) {
  const url = `${location.origin}/v1/models/${encodeURIComponent(model)}/versions/${version}:predict`;
  const file = isImage ? "cat.jpg" : "input.txt";
  return {
    python: `from headstart import Client

with Client() as client:
    prediction = client.model(${py(model)})[${version}].predict(${py(file)})
    print(prediction.probabilities)`,
    cli: `headstart predict ${shell(`${model}@${version}`)} ${file}`,
    curl: isImage
      ? `curl --data-binary @cat.jpg -H 'content-type: image/jpeg' \\\n  ${shell(url)}`
      : `curl --data-binary @input.txt -H 'content-type: text/plain' \\\n  ${shell(url)}`,
  };
}
