import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";

import type { ApiError } from "../api";
import { Icon, type IconName } from "./icons";

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "icon" | "size"> & {
  kind?: "primary" | "plain" | "ghost" | "danger";
  icon?: IconName;
  size?: "small" | "normal";
  isBusy?: boolean;
};

export function Button({ kind = "plain", icon, size = "normal", isBusy, children, class: added, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      class={`button ${kind} ${size} ${children ? "" : "only-icon"} ${added ?? ""}`}
      aria-busy={isBusy || undefined}
      {...rest}
      disabled={rest.disabled || isBusy}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

export function LinkButton(props: { href: string; kind?: "primary" | "plain" | "ghost"; icon?: IconName; children: ComponentChildren }) {
  return (
    <a class={`button ${props.kind ?? "plain"} normal`} href={props.href}>
      {props.icon && <Icon name={props.icon} />}
      <span>{props.children}</span>
    </a>
  );
}

export type Tone = "neutral" | "good" | "bad" | "warn" | "accent";

export function Badge({ tone = "neutral", children, title }: { tone?: Tone; children: ComponentChildren; title?: string }) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

export function Card(props: { title?: ComponentChildren; actions?: ComponentChildren; children?: ComponentChildren; class?: string; label?: string }) {
  return (
    <section class={`card ${props.class ?? ""}`} aria-label={props.label}>
      {(props.title || props.actions) && (
        <header class="card-head">
          <h2>{props.title}</h2>
          {props.actions && <div class="row">{props.actions}</div>}
        </header>
      )}
      {props.children}
    </section>
  );
}

export function PageHead(props: { title: ComponentChildren; note?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div>
        <h1>{props.title}</h1>
        {props.note && <p class="muted">{props.note}</p>}
      </div>
      {props.actions && <div class="row wrap">{props.actions}</div>}
    </header>
  );
}

/** An explanation in place of content; `isPage` if the page has no other title. */
export function Empty(props: { icon: IconName; title: string; isPage?: boolean; children?: ComponentChildren }) {
  const Title = props.isPage ? "h1" : "h2";
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={props.icon} size={22} />
      </span>
      <Title>{props.title}</Title>
      {props.children && <div class="muted">{props.children}</div>}
    </div>
  );
}

export function ErrorNote({ error, retry }: { error: ApiError | string; retry?: () => void }) {
  return (
    <div class="note bad" role="alert">
      <Icon name="warn" />
      <p>{typeof error === "string" ? error : error.message}</p>
      {retry && (
        <Button size="small" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Note({ tone = "neutral", children }: { tone?: Tone; children: ComponentChildren }) {
  return <div class={`note ${tone}`}>{children}</div>;
}

/** Gray lines in place of content that takes longer than 300 ms. */
export function Skeleton({ lines = 3 }: { lines?: number }) {
  return (
    <div class="skeleton" aria-label="Loading" role="status">
      {Array.from({ length: lines }, (_, place) => (
        <span key={place} />
      ))}
    </div>
  );
}

export function Field(props: { label: string; hint?: ComponentChildren; children: (id: string) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children(id)}
      {props.hint && <p class="hint">{props.hint}</p>}
    </div>
  );
}

export function Segmented<T extends string>(props: {
  label: string;
  value: T;
  choices: readonly { value: T; text: string; icon?: IconName }[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="segmented" role="radiogroup" aria-label={props.label}>
      {props.choices.map((each) => (
        <label key={each.value} class={each.value === props.value ? "on" : ""}>
          <input
            type="radio"
            name={props.label}
            checked={each.value === props.value}
            onChange={() => props.onChange(each.value)}
          />
          {each.icon && <Icon name={each.icon} />}
          {each.text}
        </label>
      ))}
    </div>
  );
}

export function Switch(props: { label: string; checked: boolean; onChange: (on: boolean) => void; hint?: string }) {
  return (
    <label class="switch" title={props.hint}>
      <input type="checkbox" role="switch" checked={props.checked} onChange={(event) => props.onChange(event.currentTarget.checked)} />
      <span class="switch-track" aria-hidden="true" />
      {props.label}
    </label>
  );
}

export function Progress({ fraction, label }: { fraction: number | undefined; label: string }) {
  return (
    <progress class="progress" max={1} value={fraction} aria-label={label} />
  );
}
