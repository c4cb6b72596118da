import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { filesOfDrop, filesOfInput, type Found } from "../files";
import { Button } from "./basics";

/** An area that accepts dropped files and folders. */
export function DropZone(props: { label: string; class?: string; onFiles: (found: Found[]) => void; children: ComponentChildren }) {
  const [isOver, setOver] = useState(false);
  return (
    <div
      class={`${props.class ?? ""} ${isOver ? "over" : ""}`}
      role="group"
      aria-label={props.label}
      onDragOver={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        if (event.dataTransfer) void filesOfDrop(event.dataTransfer).then(props.onFiles);
      }}
    >
      {props.children}
    </div>
  );
}

/** A button that chooses files, or folders. */
export function ChooseFiles(props: {
  text: string;
  folder?: boolean;
  accept?: string;
  size?: "small" | "normal";
  kind?: "primary" | "plain";
  onFiles: (found: Found[]) => void;
}) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (props.folder) input.current?.setAttribute("webkitdirectory", "");
  }, []);
  return (
    <>
      <input
        ref={input}
        class="hidden"
        type="file"
        multiple
        accept={props.accept}
        tabIndex={-1}
        aria-label={props.text}
        onChange={(event) => {
          props.onFiles(filesOfInput(event.currentTarget));
          event.currentTarget.value = "";
        }}
      />
      <Button kind={props.kind} size={props.size} icon="upload" onClick={() => input.current?.click()}>
        {props.text}
      </Button>
    </>
  );
}
