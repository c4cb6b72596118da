import type { ComponentChildren } from "preact";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Button } from "./basics";

/** A modal dialog; Escape and a click outside close it. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean; actions?: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={props.wide ? "wide" : ""}
      aria-label={props.title}
      onClose={props.onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <div class="dialog-body">
        <header class="card-head">
          <h2>{props.title}</h2>
          <Button kind="ghost" icon="close" aria-label="Close" onClick={() => element.current?.close()} />
        </header>
        {props.children}
        {props.actions && <footer class="row end">{props.actions}</footer>}
      </div>
    </dialog>
  );
}

/** Ask before something is deleted; return whether the caller agreed. */
export function confirm(title: string, text: string, action: string): Promise<boolean> {
  const place = document.createElement("div");
  document.body.append(place);
  const opener = document.activeElement as HTMLElement | null;
  return new Promise((resolve) => {
    const close = (answer: boolean) => {
      render(null, place);
      place.remove();
      opener?.focus();
      resolve(answer);
    };
    render(
      <Dialog
        title={title}
        onClose={() => close(false)}
        actions={
          <>
            <Button onClick={() => close(false)}>Cancel</Button>
            <Button kind="danger" onClick={() => close(true)}>
              {action}
            </Button>
          </>
        }
      >
        <p>{text}</p>
      </Dialog>,
      place,
    );
  });
}
