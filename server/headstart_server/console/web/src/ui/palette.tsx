import { useEffect, useRef, useState } from "preact/hooks";

import { modelPath, navigate } from "../router";
import { may, models, session } from "../session";
import { modelTabs } from "../tabs";
import { switchTheme } from "../theme";
import { Icon, type IconName } from "./icons";

interface Entry {
  text: string;
  note: string;
  icon: IconName;
  run: () => void;
}

/** A search over models and pages, for the keyboard. */
export function Palette({ onClose }: { onClose: () => void }) {
  const element = useRef<HTMLDialogElement>(null);
  const [query, setQuery] = useState("");
  const [place, setPlace] = useState(0);
  useEffect(() => element.current?.showModal(), []);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = entries()
    .filter((each) => words.every((word) => `${each.text} ${each.note}`.toLowerCase().includes(word)))
    .slice(0, 50);
  const choose = (entry: Entry | undefined) => {
    element.current?.close();
    entry?.run();
  };
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      setPlace((place + step + found.length) % found.length);
    }
    if (event.key === "Enter") choose(found[place]);
  };
  return (
    <dialog
      ref={element}
      class="palette"
      aria-label="Search"
      onClose={onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <input
        class="input"
        role="combobox"
        aria-label="Search models and pages"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length ? `palette-${place}` : undefined}
        placeholder="Search models and pages"
        value={query}
        onInput={(event) => {
          setQuery(event.currentTarget.value);
          setPlace(0);
        }}
        onKeyDown={onKey}
      />
      <ul id="palette-list" role="listbox" aria-label="Results">
        {found.map((each, index) => (
          <li
            key={`${each.text} ${each.note}`}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === place}
            onMouseMove={() => setPlace(index)}
            onClick={() => choose(each)}
          >
            <Icon name={each.icon} />
            <span class="grow cut">{each.text}</span>
            <span class="hint">{each.note}</span>
          </li>
        ))}
      </ul>
    </dialog>
  );
}

function entries(): Entry[] {
  const { caller } = session.value;
  const page = (text: string, icon: IconName, target: string): Entry => ({ text, note: "Page", icon, run: () => navigate(target) });
  const isTrainer = may(caller, "RIGHT_TRAIN");
  const pages = [
    page("Models", "home", "/"),
    ...(isTrainer ? [page("New model", "plus", "/new"), page("Jobs", "jobs", "/jobs")] : []),
    page("Access", "key", "/access"),
    { text: "Switch colors", note: "Action", icon: "moon" as const, run: switchTheme },
  ];
  const known = (models.value ?? []).flatMap((each) =>
    modelTabs(caller, each.model).map(({ text, view, icon }) => ({
      text: each.model,
      note: text,
      icon,
      run: () => navigate(modelPath(each.model, view)),
    })),
  );
  return [...known, ...pages];
}
