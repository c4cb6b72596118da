import { useState } from "preact/hooks";

import { get, hasToken } from "../api";
import { bytes, count } from "../format";
import { useAction, useLoad, useTitle } from "../hooks";
import { lock, session, unlock } from "../session";
import { useStore } from "../store";
import type { Caller, Right, ServerInfo, Usage } from "../types";
import { Badge, Button, Card, ErrorNote, Field, Note, PageHead, Skeleton } from "../ui/basics";
import { AsCode } from "../ui/code";
import { Logo } from "../ui/icons";

const RIGHTS: Record<string, string> = {
  RIGHT_PREDICT: "Predict",
  RIGHT_TRAIN: "Train",
  RIGHT_ADMIN: "Administer",
  RIGHT_FEEDBACK: "Give feedback",
  RIGHT_REVIEW: "Review inputs",
};

/** The form for a token, when the server needs one. */
export function TokenForm() {
  const [token, setToken] = useState("");
  const { error } = useStore(session);
  const action = useAction(() => unlock(token));
  useTitle("Access");
  return (
    <form
      class="card token-form"
      onSubmit={(event) => {
        event.preventDefault();
        void action.run();
      }}
    >
      <Logo size={36} />
      <div>
        <h1>Headstart</h1>
        <p class="muted">This server needs an access token. It stays in the memory of this page only.</p>
      </div>
      <Field label="Access token">
        {(id) => (
          <input
            id={id}
            class="input mono"
            type="password"
            autocomplete="off"
            autofocus
            required
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        )}
      </Field>
      {error && <ErrorNote error={error} />}
      <Button kind="primary" type="submit" isBusy={action.isRunning}>
        Continue
      </Button>
    </form>
  );
}

export function AccessPage() {
  useTitle("Access");
  const { caller, info } = useStore(session);
  if (!caller) return null;
  return (
    <>
      <PageHead
        title="Access"
        note="What this page may do on the server."
        actions={
          <>
            <AsCode
              snippets={{
                python: "from headstart import Client\n\nwith Client() as client:\n    print(client.whoami())\n    print(client.usage())",
                cli: "headstart whoami\nheadstart usage",
                curl: `curl ${location.origin}/v1/whoami\ncurl ${location.origin}/v1/usage`,
              }}
            />
            {hasToken() && <Button onClick={lock}>Forget the token</Button>}
          </>
        }
      />
      <div class="columns">
        <Card title="Permissions">
          <Permissions caller={caller} />
        </Card>
        <UsageCard />
        {info && <ServerCard info={info} />}
      </div>
    </>
  );
}

function Permissions({ caller }: { caller: Caller }) {
  if (!caller.authenticated) {
    return (
      <Note tone="warn">
        <p>
          The server runs without authentication: everyone who reaches it may do everything. To restrict access, start it with{" "}
          <code>--access-file</code>.
        </p>
      </Note>
    );
  }
  return (
    <>
      <dl class="facts">
        <dt>Principal</dt>
        <dd>{caller.principal || "–"}</dd>
        {caller.tenant && (
          <>
            <dt>Tenant</dt>
            <dd>{caller.tenant}</dd>
          </>
        )}
      </dl>
      <ul class="stack">
        {caller.permissions.map((each, place) => (
          <li key={place} class="row wrap">
            {each.rights.map((right: Right) => (
              <Badge key={right} tone="accent">
                {RIGHTS[right] ?? right}
              </Badge>
            ))}
            <span class="muted">on {each.models.map((name) => (name === "*" ? "all models" : name)).join(", ")}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

function UsageCard() {
  const { data, error, isSlow, reload } = useLoad((signal) => get<{ usage: Usage }>("/v1/usage", { signal }), []);
  const usage = data?.usage;
  if (error) return <ErrorNote error={error} retry={reload} />;
  return (
    <Card title="Usage">
      {isSlow && <Skeleton lines={4} />}
      {usage && (
        <div class="stack">
          <Quota label="Versions" value={usage.versionCount} limit={usage.versionLimit} text={count} />
          <Quota
            label="Stored"
            value={String(Number(usage.versionBytes) + Number(usage.exampleBytes))}
            limit={usage.storedBytesLimit}
            text={bytes}
          />
          <Quota label="Queued jobs" value={usage.queuedJobCount} limit={usage.queuedJobLimit} text={count} />
          <Quota label="Running jobs" value={usage.runningJobCount} limit={usage.runningJobLimit} text={count} />
        </div>
      )}
    </Card>
  );
}

function Quota(props: { label: string; value: string | undefined; limit: string | undefined; text: (value: string) => string }) {
  const value = props.value ?? "0";
  return (
    <div class="quota">
      <span class="muted">{props.label}</span>
      <span class="number">
        {props.text(value)}
        {props.limit !== undefined && <span class="muted"> of {props.text(props.limit)}</span>}
      </span>
      {props.limit !== undefined && <meter min={0} max={Number(props.limit) || 1} value={Number(value)} aria-label={props.label} />}
    </div>
  );
}

function ServerCard({ info }: { info: ServerInfo }) {
  const features = info.features.map((each) => each.replace("FEATURE_", "").toLowerCase().replaceAll("_", " "));
  return (
    <Card title="Server">
      <dl class="facts">
        <dt>Release</dt>
        <dd>{info.release}</dd>
        <dt>Examples per fine-tune</dt>
        <dd class="number">{count(info.limits.examples)}</dd>
        <dt>Size of an input</dt>
        <dd class="number">{bytes(info.limits.inputBytes ?? 0)}</dd>
        <dt>API</dt>
        <dd>
          <a href="/api" data-outside class="link">
            Calls
          </a>{" "}
          ·{" "}
          <a href="/openapi.json" data-outside class="link">
            OpenAPI
          </a>
        </dd>
      </dl>
      <div class="row wrap">
        {features.map((each) => (
          <Badge key={each}>{each}</Badge>
        ))}
      </div>
    </Card>
  );
}
