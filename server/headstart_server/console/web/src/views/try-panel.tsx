import { useEffect, useRef, useState } from "preact/hooks";

import { type Found, isImage } from "../files";
import { useAction, useBlobUrl, useLate } from "../hooks";
import { type InputValue, predict, type PredictOptions, type Selector } from "../predict";
import { modalityOf, session } from "../session";
import { seconds, span } from "../format";
import type { PredictResponse, Version } from "../types";
import { Button, ErrorNote, Field } from "../ui/basics";
import { ChooseFiles, DropZone } from "../ui/drop";
import { Webcam } from "../ui/webcam";
import { PredictionView } from "./prediction";

export interface Answer {
  input: InputValue;
  response: PredictResponse;
}

const TYPING_MS = 250;

/** Predict images, texts or numbers, as they come. */
export function TryPanel(props: {
  version: Version;
  targets?: Selector[];
  options?: PredictOptions;
  onAnswer?: (answer: Answer) => void;
  renderAnswer?: (answer: Answer) => preact.ComponentChildren;
}) {
  const { version } = props;
  const targets = props.targets ?? [{ model: version.model, version: version.version }];
  const modality = modalityOf(session.value.backbones, version.lineage.backbone);
  const [answer, setAnswer] = useState<Answer>();
  const [input, setInput] = useState<InputValue>();
  const latest = useRef({ targets, options: props.options });
  latest.current = { targets, options: props.options };
  const last = useRef(0);
  const action = useAction(async (value: InputValue) => {
    // Answers come in any order, and only the newest matters. A cancelled call would count as an error of the version.
    const turn = ++last.current;
    try {
      const response = await predict(latest.current.targets, value, latest.current.options);
      if (turn === last.current) setAnswer({ input: value, response });
    } catch (error) {
      if (turn === last.current) throw error;
    }
  });
  const ask = async (value: InputValue) => {
    setInput(value);
    await action.run(value);
  };
  const isLate = useLate(action.isRunning);
  const key = JSON.stringify(latest.current);
  useEffect(() => {
    if (input) void action.run(input);
  }, [key]);
  return (
    <div class="try-panel">
      <div class="stack">
        {modality === "image" && <ImageInput value={input} onInput={ask} />}
        {modality === "text" && <TextInput onInput={ask} />}
        {modality === "numbers" && <NumbersInput onInput={ask} />}
      </div>
      <div class="stack" aria-live="polite" aria-busy={action.isRunning}>
        {action.error && <ErrorNote error={action.error} />}
        {answer && !action.error && (
          <div class={isLate ? "stack old" : "stack"}>{props.renderAnswer?.(answer) ?? <PredictionView result={answer.response.results[0]} />}</div>
        )}
        {isLate && <p class="muted">Predicting…</p>}
        {answer && !action.error && !isLate && (
          <p class="hint number">Answered in {span(seconds(answer.response.times?.totalDuration))}</p>
        )}
        {!answer && !action.error && !isLate && <p class="muted">The prediction appears here.</p>}
      </div>
    </div>
  );
}

function ImageInput({ value, onInput }: { value: InputValue | undefined; onInput: (value: InputValue) => Promise<void> }) {
  const [isLive, setLive] = useState(false);
  const url = useBlobUrl(!isLive && value?.kind === "image" ? value.blob : undefined);
  const use = (found: Found[]) => {
    const image = found.find(({ file }) => isImage(file));
    if (image) {
      setLive(false);
      void onInput({ kind: "image", blob: image.file });
    }
  };
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])].find(isImage);
      if (file) use([{ path: file.name, file }]);
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, []);
  return (
    <>
      <DropZone label="Image to predict" class="try-drop" onFiles={use}>
        {isLive ? <LiveCamera onInput={onInput} /> : url ? <img src={url} alt="The image to predict" /> : <p class="muted">Drop or paste an image</p>}
      </DropZone>
      <div class="row wrap">
        <ChooseFiles text="Choose an image" accept="image/*" onFiles={use} />
        <Button icon="camera" aria-pressed={isLive} onClick={() => setLive(!isLive)}>
          {isLive ? "Stop the camera" : "Camera"}
        </Button>
      </div>
    </>
  );
}

/** Predict the images of the camera, one after another. */
function LiveCamera({ onInput }: { onInput: (value: InputValue) => Promise<void> }) {
  const isGone = useRef(false);
  const latest = useRef(onInput);
  latest.current = onInput;
  useEffect(() => () => void (isGone.current = true), []);
  const run = async (take: () => Promise<Blob | null>) => {
    while (!isGone.current) {
      const blob = await take();
      if (blob) await latest.current({ kind: "image", blob });
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  };
  return <Webcam onReady={(take) => take && void run(take)} />;
}

function TextInput({ onInput }: { onInput: (value: InputValue) => Promise<void> }) {
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <Field label="Text">
      {(id) => (
        <textarea
          id={id}
          class="input"
          rows={6}
          placeholder="Type or paste a text"
          onInput={(event) => {
            const text = event.currentTarget.value.trim();
            clearTimeout(timer.current);
            if (text) timer.current = setTimeout(() => void onInput({ kind: "text", text }), TYPING_MS);
          }}
        />
      )}
    </Field>
  );
}

function NumbersInput({ onInput }: { onInput: (value: InputValue) => Promise<void> }) {
  const [error, setError] = useState("");
  return (
    <Field label="Numbers" hint={error || "Separated by spaces or commas, such as 5.1, 3.5, 1.4, 0.2"}>
      {(id) => (
        <input
          id={id}
          class="input mono"
          onChange={(event) => {
            const features = event.currentTarget.value.split(/[\s,;]+/).filter(Boolean).map(Number);
            const isValid = features.length > 0 && features.every(Number.isFinite);
            setError(isValid ? "" : "Enter numbers, separated by spaces or commas.");
            if (isValid) void onInput({ kind: "numbers", features });
          }}
        />
      )}
    </Field>
  );
}
