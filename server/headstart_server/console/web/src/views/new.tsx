import { useEffect, useRef, useState } from "preact/hooks";

import { addFiles, change, changeClass, draft, emptyDraft, type DraftClass, itemOf, linesOf, type Mode, newClass } from "../draft";
import { byClass, type Found, isTable } from "../files";
import { bytes, counted } from "../format";
import { useBlobUrl, useTitle } from "../hooks";
import type { Place } from "../router";
import { useStore } from "../store";
import { Button, Field, PageHead, Segmented } from "../ui/basics";
import { AsCode, py, shell } from "../ui/code";
import { ChooseFiles, DropZone } from "../ui/drop";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { toast } from "../ui/toasts";
import { Webcam } from "../ui/webcam";
import { LearnPanel } from "./learn";

const SHOWN_ITEMS = 11;
const FRAME_MS = 120;

/** Data → Learn → Try. */
export function NewPage({ place, isFirst }: { place?: Place; isFirst?: boolean }) {
  const current = useStore(draft);
  const model = place?.query.get("model") ?? "";
  const parent = place?.query.get("parent") ?? "";
  useTitle("New model");
  useEffect(() => {
    if (model && (draft.value.model !== model || draft.value.parent !== parent)) {
      draft.set({ ...emptyDraft(), model, parent: parent || undefined, isStable: false });
    } else if (!model && draft.value.parent) draft.set(emptyDraft());
  }, [model, parent]);
  const receive = (found: Found[], target?: number) => accept(found, target);
  return (
    <DropZone label="Examples" class="new-page" onFiles={(found) => receive(found)}>
      <PageHead
        title={parent ? `Add examples to ${model}` : isFirst ? "Create your first model" : "New model"}
        note={
          parent
            ? `The next version learns them together with the examples of version ${parent}.`
            : "Give examples of each class. Training takes about a second."
        }
        actions={<AsCode snippets={snippets(current.model || "pets")} />}
      />
      <div class="new-columns">
        <section class="stack loose" aria-label="Data">
          <Segmented<Mode>
            label="Kind of examples"
            value={current.mode}
            choices={[
              { value: "images", text: "Images", icon: "camera" },
              { value: "texts", text: "Texts", icon: "text" },
              { value: "file", text: "ZIP, CSV or JSONL", icon: "upload" },
              { value: "uri", text: "URI", icon: "link" },
            ]}
            onChange={(mode) => change({ mode, check: undefined })}
          />
          {current.mode === "images" && <Images classes={current.classes} onFiles={receive} />}
          {current.mode === "texts" && <Texts classes={current.classes} />}
          {current.mode === "file" && <TableFile file={current.file} onFiles={receive} />}
          {current.mode === "uri" && <Uri uri={current.uri} />}
        </section>
        <LearnPanel current={current} />
      </div>
    </DropZone>
  );
}

function accept(found: readonly Found[], target?: number): void {
  const table = found.find(({ file }) => isTable(file));
  if (table) return change({ mode: "file", file: table.file, check: undefined });
  const groups = byClass(found);
  if (!groups.size) return toast("No images, ZIP, CSV or JSONL files were found.", "bad");
  const skipped = found.length - [...groups.values()].reduce((sum, each) => sum + each.length, 0);
  if (skipped) toast(`${counted(skipped, "file")} skipped: not an image.`);
  addFiles(groups, target);
}

function Images({ classes, onFiles }: { classes: readonly DraftClass[]; onFiles: (found: Found[], target?: number) => void }) {
  const isEmpty = classes.every((each) => !each.items.length);
  return (
    <>
      {isEmpty && (
        <div class="drop-hint">
          <span class="empty-icon">
            <Icon name="upload" size={22} />
          </span>
          <h2>Drop folders here, one for each class</h2>
          <p class="muted">
            Or drop a ZIP, CSV or JSONL file. The name of a folder becomes the name of its class.
          </p>
          <div class="row wrap">
            <ChooseFiles text="Choose a folder" folder kind="primary" onFiles={onFiles} />
          </div>
        </div>
      )}
      <div class="class-list">
        {classes.map((each) => (
          <ImageClass key={each.id} value={each} onFiles={(found) => onFiles(found, each.id)} />
        ))}
      </div>
      <div class="row wrap">
        <AddClass count={classes.length} />
        {!isEmpty && <ChooseFiles text="Add a folder" folder onFiles={onFiles} />}
      </div>
    </>
  );
}

const AddClass = ({ count }: { count: number }) => (
  <Button icon="plus" onClick={() => change({ classes: [...draft.value.classes, newClass(`Class ${count + 1}`)] })}>
    Add a class
  </Button>
);

function ClassHead({ value, note }: { value: DraftClass; note: string }) {
  const remove = async () => {
    const isEmpty = !value.items.length && !value.lines.trim();
    if (!isEmpty && !(await confirm(`Remove the class ${value.name}?`, `Its ${note} are removed from this page. It cannot be undone.`, "Remove"))) return;
    change({ classes: draft.value.classes.filter((each) => each.id !== value.id) });
  };
  return (
    <div class="row spread">
      <input
        class="class-name"
        aria-label="Name of the class"
        value={value.name}
        maxLength={128}
        onInput={(event) => {
          const name = event.currentTarget.value;
          changeClass(value.id, (old) => ({ ...old, name }));
        }}
      />
      <span class="row">
        <span class="muted number" aria-live="polite">
          {note}
        </span>
        <Button kind="ghost" size="small" icon="trash" aria-label={`Remove the class ${value.name}`} onClick={() => void remove()} />
      </span>
    </div>
  );
}

function ImageClass({ value, onFiles }: { value: DraftClass; onFiles: (found: Found[]) => void }) {
  const [hasCamera, setCamera] = useState(false);
  const items = value.items.slice(0, SHOWN_ITEMS);
  const more = value.items.length - items.length;
  const remove = (id: number) => changeClass(value.id, (old) => ({ ...old, items: old.items.filter((each) => each.id !== id) }));
  return (
    <DropZone label={`Examples of ${value.name}`} class="card class-card" onFiles={(found) => onFiles(flattened(found))}>
      <ClassHead value={value} note={counted(value.items.length, "image")} />
      {items.length > 0 && (
        <ul class="thumbs">
          {items.map((item) => (
            <li key={item.id}>
              <LocalThumb blob={item.blob} name={item.name} onRemove={() => remove(item.id)} />
            </li>
          ))}
          {more > 0 && <li class="thumb more">+{more}</li>}
        </ul>
      )}
      {hasCamera && <HoldToRecord name={value.name} onImage={(blob) => addImage(value.id, blob)} />}
      <div class="row wrap">
        <ChooseFiles size="small" text="Add images" accept="image/*" onFiles={(found) => onFiles(flattened(found))} />
        <Button size="small" icon="camera" aria-pressed={hasCamera} onClick={() => setCamera(!hasCamera)}>
          {hasCamera ? "Close the camera" : "Camera"}
        </Button>
      </div>
    </DropZone>
  );
}

/** Files that are added to one class: their folders do not name others. */
const flattened = (found: Found[]): Found[] => found.map(({ path, file }) => ({ path: path.replaceAll("/", "-"), file }));

function addImage(id: number, blob: Blob): void {
  changeClass(id, (old) => ({ ...old, items: [...old.items, itemOf(`camera-${Date.now()}-${old.items.length}.jpg`, blob)] }));
}

function LocalThumb({ blob, name, onRemove }: { blob: Blob; name: string; onRemove: () => void }) {
  const url = useBlobUrl(blob);
  return (
    <button type="button" class="thumb" aria-label={`Remove ${name}`} title={`Remove ${name}`} onClick={onRemove}>
      {url && <img src={url} alt="" loading="lazy" decoding="async" />}
    </button>
  );
}

/** A camera that takes images while its button is held. */
function HoldToRecord({ name, onImage }: { name: string; onImage: (blob: Blob) => void }) {
  const take = useRef<(() => Promise<Blob | null>) | undefined>(undefined);
  const timer = useRef<ReturnType<typeof setInterval> | undefined>(undefined);
  const [isOn, setOn] = useState(false);
  const start = () => {
    if (timer.current) return;
    setOn(true);
    const one = async () => {
      const blob = await take.current?.();
      if (blob) onImage(blob);
    };
    void one();
    timer.current = setInterval(() => void one(), FRAME_MS);
  };
  const stop = () => {
    clearInterval(timer.current);
    timer.current = undefined;
    setOn(false);
  };
  useEffect(() => stop, []);
  const isHold = (event: KeyboardEvent) => event.key === " " || event.key === "Enter";
  return (
    <div class="camera">
      <Webcam onReady={(ready) => (take.current = ready)} />
      <Button
        kind="primary"
        icon="camera"
        aria-pressed={isOn}
        onPointerDown={start}
        onPointerUp={stop}
        onPointerLeave={stop}
        onKeyDown={(event) => isHold(event) && start()}
        onKeyUp={(event) => isHold(event) && stop()}
        onBlur={stop}
      >
        {isOn ? "Recording…" : `Hold to record ${name}`}
      </Button>
    </div>
  );
}

function Texts({ classes }: { classes: readonly DraftClass[] }) {
  return (
    <>
      <div class="class-list">
        {classes.map((each) => (
          <section key={each.id} class="card class-card" aria-label={`Examples of ${each.name}`}>
            <ClassHead value={each} note={counted(linesOf(each).length, "text")} />
            <textarea
              class="input"
              rows={5}
              aria-label={`Texts of ${each.name}, one per line`}
              placeholder="One text per line"
              value={each.lines}
              onInput={(event) => {
                const lines = event.currentTarget.value;
                changeClass(each.id, (old) => ({ ...old, lines }));
              }}
            />
          </section>
        ))}
      </div>
      <div class="row">
        <AddClass count={classes.length} />
      </div>
    </>
  );
}

function TableFile({ file, onFiles }: { file: File | undefined; onFiles: (found: Found[]) => void }) {
  return (
    <div class="drop-hint">
      <span class="empty-icon">
        <Icon name={file ? "check" : "upload"} size={22} />
      </span>
      <h2 class="cut">{file ? file.name : "Drop a ZIP, CSV, TSV or JSONL file here"}</h2>
      <p class="muted">
        {file
          ? bytes(file.size)
          : "A ZIP has one folder for each class. A table has the columns text and label, or numbers and label."}
      </p>
      <ChooseFiles
        text={file ? "Choose another file" : "Choose a file"}
        kind={file ? "plain" : "primary"}
        accept=".zip,.csv,.tsv,.jsonl,.ndjson"
        onFiles={onFiles}
      />
    </div>
  );
}

function Uri({ uri }: { uri: string }) {
  return (
    <div class="card">
      <Field
        label="URI of a dataset manifest"
        hint="A CSV, TSV or JSONL file that lists the examples, in a place that the server allows with --allow-dataset-uri."
      >
        {(id) => (
          <input
            id={id}
            class="input mono"
            placeholder="s3://bucket/pets/train.csv"
            value={uri}
            onInput={(event) => change({ uri: event.currentTarget.value })}
          />
        )}
      </Field>
    </div>
  );
}

function snippets(model: string) {
  const url = `${location.origin}/v1/models/${encodeURIComponent(model)}:fineTune?alias=stable`;
  return {
    python: `from headstart import Client

with Client() as client:
    job = client.model(${py(model)}).fine_tune("photos/", alias="stable")
    print(job.result(progress=True))`,
    cli: `headstart check ${shell(model)} photos/\nheadstart fine-tune ${shell(model)} photos/ --alias stable`,
    curl: `# A ZIP with one folder for each class\ncurl --data-binary @photos.zip -H 'content-type: application/zip' \\\n  ${shell(url)}`,
  };
}
