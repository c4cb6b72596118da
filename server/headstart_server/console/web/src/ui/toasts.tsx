import { Store, useStore } from "../store";
import { Button, type Tone } from "./basics";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
  href?: string;
}

const toasts = new Store<Toast[]>([]);
let last = 0;

/** Show a short message for some seconds. */
export function toast(text: string, tone: Tone = "neutral", href?: string): void {
  const id = ++last;
  toasts.update((old) => [...old.slice(-3), { id, text, tone, href }]);
  setTimeout(() => dismiss(id), tone === "bad" ? 12_000 : 6_000);
}

function dismiss(id: number): void {
  toasts.update((old) => old.filter((each) => each.id !== id));
}

export function Toasts() {
  const shown = useStore(toasts);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.map((each) => (
        <div key={each.id} class={`toast ${each.tone}`}>
          {each.href ? <a href={each.href}>{each.text}</a> : <span>{each.text}</span>}
          <Button kind="ghost" size="small" icon="close" aria-label="Dismiss" onClick={() => dismiss(each.id)} />
        </div>
      ))}
    </div>
  );
}
