import { useRef, useState } from "preact/hooks";

import { Button, Segmented } from "./basics";
import { Dialog } from "./dialog";

export interface Snippets {
  python: string;
  cli: string;
  curl: string;
}

/** A button that shows the action of a view as code. */
export function AsCode({ snippets }: { snippets: Snippets }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button icon="code" onClick={() => setOpen(true)}>
        As code
      </Button>
      {isOpen && (
        <Dialog title="The same as code" wide onClose={() => setOpen(false)}>
          <CodeTabs snippets={snippets} />
        </Dialog>
      )}
    </>
  );
}

function CodeTabs({ snippets }: { snippets: Snippets }) {
  const [kind, setKind] = useState<keyof Snippets>("python");
  const [isCopied, setCopied] = useState(false);
  const code = useRef<HTMLElement>(null);
  const text = snippets[kind].trim();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages over plain HTTP have no clipboard.
      if (code.current) getSelection()?.selectAllChildren(code.current);
      if (!document.execCommand("copy")) return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div class="stack">
      <div class="row spread">
        <Segmented
          label="Language"
          value={kind}
          choices={[
            { value: "python", text: "Python" },
            { value: "cli", text: "CLI" },
            { value: "curl", text: "curl" },
          ]}
          onChange={setKind}
        />
        <Button size="small" icon={isCopied ? "check" : "copy"} onClick={copy}>
          {isCopied ? "Copied" : "Copy"}
        </Button>
      </div>
      <pre class="code" tabIndex={0} aria-label={`Code for ${kind}`}>
        <code ref={code}>{text}</code>
      </pre>
      <p class="hint">
        The CLI and Python use the gRPC port, 8765 by default. With authentication, set <code>HEADSTART_TOKEN</code>, or send{" "}
        <code>Authorization: Bearer …</code> with curl.
      </p>
    </div>
  );
}

/** Quote a word of a shell command, if needed. */
export const shell = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** Return a string of Python. */
export const py = (text: string): string => JSON.stringify(text);

/** Return an address of this server for curl. */
export const at = (target: string): string => shell(`${location.origin}${target}`);
