import type { Edit } from "../edits";
import { contentPath, type ExampleRecord } from "../examples";
import { labelText, percent } from "../format";
import type { Version } from "../types";
import { Badge, Button } from "../ui/basics";
import { Remote } from "../ui/remote";

const KEYS = 9;

/** Return the class of a key: the one that is named like it, or else the one at its place. */
export function classOfKey(names: readonly string[], key: string): string | undefined {
  if (!/^[0-9]$/.test(key)) return undefined;
  return names.includes(key) ? key : names[Number(key) - 1];
}

function keyOf(names: readonly string[], name: string): string | undefined {
  return ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"].find((key) => classOfKey(names, key) === name);
}

const FINDINGS: Record<string, string> = {
  EXAMPLE_ISSUE_LABEL_ISSUE: "label looks wrong",
  EXAMPLE_ISSUE_DUPLICATE: "duplicate",
  EXAMPLE_ISSUE_CONTRADICTION: "duplicate with another label",
  EXAMPLE_ISSUE_OUTLIER: "unlike all others",
  EXAMPLE_ISSUE_ERROR: "predicted wrong",
};

/** The example that has the focus, large, with what can be done to it. */
export function ExamplePanel(props: {
  record: ExampleRecord;
  edit: Edit | undefined;
  version: Version;
  kind: "image" | "text" | "numbers";
  suggested: string | undefined;
  onRelabel: (className: string) => void;
  onEdit: (change: Omit<Edit, "index"> | undefined) => void;
}) {
  const { record, edit, version, kind, suggested } = props;
  const { example } = record;
  const target = record.hasContent ? contentPath(version.model, version.version, example.index, kind === "image" ? 512 : undefined) : "";
  return (
    <aside class="card example-panel" aria-label="Example">
      <div class="example-content">
        <Remote target={target} kind={kind} alt={example.exampleId || `Example ${example.index}`} />
      </div>
      <div class="row wrap">
        {record.findings.map((each) => (
          <Badge key={each.issue} tone="warn">
            {FINDINGS[each.issue] ?? each.issue}
          </Badge>
        ))}
        {record.heldOut && <Badge>held out</Badge>}
      </div>
      <dl class="facts">
        <dt>ID</dt>
        <dd class="mono">
          <bdi>{example.exampleId || `example ${example.index}`}</bdi>
        </dd>
        <dt>Label</dt>
        <dd>
          <bdi>{labelText(example.label)}</bdi>
          {record.labelProbability !== undefined && <span class="muted"> ({percent(record.labelProbability)})</span>}
        </dd>
        <dt>Predicted</dt>
        <dd>
          <bdi>{labelText(record.predictedLabel)}</bdi>
          {record.predictedProbability !== undefined && <span class="muted"> ({percent(record.predictedProbability)})</span>}
        </dd>
      </dl>
      {version.task === "TASK_SINGLE_LABEL" && (
        <Relabel names={version.classNames} current={edit?.label?.className ?? example.label?.className ?? ""} suggested={suggested} onChoose={props.onRelabel} />
      )}
      <div class="row wrap">
        {edit ? (
          <Button size="small" icon="undo" onClick={() => props.onEdit(undefined)}>
            Undo
          </Button>
        ) : (
          <>
            <Button size="small" icon="check" onClick={() => props.onEdit({ isKept: true })}>
              Keep <Key text="Space" />
            </Button>
            <Button size="small" icon="trash" onClick={() => props.onEdit({ remove: true })}>
              Remove <Key text="⌫" />
            </Button>
          </>
        )}
      </div>
    </aside>
  );
}

const Key = ({ text }: { text: string }) => (
  <span class="kbd" aria-hidden="true">
    {text}
  </span>
);

/** The classes with their keys. */
export function Relabel(props: { names: readonly string[]; current: string; suggested?: string; onChoose: (name: string) => void }) {
  return (
    <div class="row wrap" role="group" aria-label="Label">
      {props.names.slice(0, KEYS).map((name) => (
        <Button key={name} size="small" class={name === props.suggested ? "choice suggested" : "choice"} title={name} aria-pressed={name === props.current} onClick={() => props.onChoose(name)}>
          <bdi class="cut">{name}</bdi> {keyOf(props.names, name) !== name && <Key text={keyOf(props.names, name) ?? ""} />}
        </Button>
      ))}
      {props.names.length > KEYS && (
        <select class="input" aria-label="Another class" value="" onChange={(event) => event.currentTarget.value && props.onChoose(event.currentTarget.value)}>
          <option value="">Another class</option>
          {props.names.slice(KEYS).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      )}
    </div>
  );
}

export function ClassSelect(props: { label: string; names: readonly string[]; value: string; onChange: (value: string) => void }) {
  return (
    <label class="row select-label">
      <span class="label">{props.label}</span>
      <select class="input" value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        <option value="">Any</option>
        {props.names.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
