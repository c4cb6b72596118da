import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { get, isReachable } from "../api";
import { isEnded, liveJobs } from "../jobs";
import { modelPath, navigate, type Place } from "../router";
import { may, models, session } from "../session";
import { useStore } from "../store";
import { switchTheme, theme } from "../theme";
import { useKeys } from "../hooks";
import { Button, Note } from "./basics";
import { Icon, type IconName, Logo } from "./icons";
import { Palette } from "./palette";

const SHOWN_MODELS = 30;
const RETRY_MS = 2000;

/** The frame of all pages: navigation at the side, the page, and the palette. */
export function Shell({ place, children }: { place: Place; children: ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  const [isSearching, setSearching] = useState(false);
  const key = place.path.join("/");
  const main = useRef<HTMLElement>(null);
  const lastKey = useRef(key);
  useEffect(() => {
    const { activeElement } = document;
    const isLost = activeElement === document.body || (isOpen && activeElement?.closest(".sidebar"));
    // The link that was followed may be gone, and the keyboard continues at the page.
    if (lastKey.current !== key && isLost) main.current?.focus({ preventScroll: true });
    lastKey.current = key;
    setOpen(false);
  }, [key]);
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setSearching(true);
      }
      if (event.key === "Escape") setOpen(false);
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  useKeys((event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      setSearching(true);
    }
    if (event.key === "n" && may(session.value.caller, "RIGHT_TRAIN")) navigate("/new");
  });
  return (
    <div class="shell">
      <a class="skip" href="#content" data-outside>
        Skip to content
      </a>
      <header class="topbar">
        <Button kind="ghost" icon="menu" aria-label="Menu" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)} />
        <a class="brand" href="/">
          <Logo size={22} /> Headstart
        </a>
        <Button kind="ghost" icon="search" aria-label="Search" onClick={() => setSearching(true)} />
      </header>
      {isOpen && <button type="button" class="scrim" aria-label="Close the menu" onClick={() => setOpen(false)} />}
      <Sidebar isOpen={isOpen} place={place} onSearch={() => setSearching(true)} />
      <main id="content" tabIndex={-1} ref={main}>
        <Connection />
        {children}
      </main>
      {isSearching && <Palette onClose={() => setSearching(false)} />}
    </div>
  );
}

/** A note while the server does not answer; calls that it failed are repeated once it does. */
function Connection() {
  const isLost = !useStore(isReachable);
  useEffect(() => {
    if (!isLost) return;
    const timer = setInterval(() => void get("/v1/whoami").catch(() => undefined), RETRY_MS);
    return () => clearInterval(timer);
  }, [isLost]);
  return (
    <div role="status" class="connection">
      {isLost && (
        <Note tone="warn">
          <p>The server does not answer. This page continues when it does.</p>
        </Note>
      )}
    </div>
  );
}

function Sidebar({ isOpen, place, onSearch }: { isOpen: boolean; place: Place; onSearch: () => void }) {
  const { caller, info } = useStore(session);
  const known = useStore(models) ?? [];
  const live = useStore(liveJobs);
  const scheme = useStore(theme);
  const running = [...live.values()].filter((each) => !isEnded(each.state));
  const [root, model] = place.path;
  const canTrain = may(caller, "RIGHT_TRAIN");
  return (
    <nav class={`sidebar ${isOpen ? "open" : ""}`} aria-label="Console">
      <a class="brand" href="/">
        <Logo size={24} /> Headstart
      </a>
      <div class="nav">
        <button type="button" class="nav-item" onClick={onSearch}>
          <Icon name="search" />
          <span class="cut">Search</span>
          <span class="kbd">/</span>
        </button>
        <NavLink href="/" icon="home" text="Models" isOn={root === undefined} />
        {canTrain && <NavLink href="/new" icon="plus" text="New model" isOn={root === "new"} />}
        {canTrain && (
          <NavLink href="/jobs" icon="jobs" text="Jobs" isOn={root === "jobs"} note={running.length || undefined} />
        )}
        <NavLink href="/access" icon="key" text="Access" isOn={root === "access"} />
      </div>
      {known.length > 0 && (
        <div>
          <h2 class="nav-title">Models</h2>
          <div class="nav">
            {known.slice(0, SHOWN_MODELS).map((each) => (
              <a
                key={each.model}
                href={modelPath(each.model)}
                title={each.model}
                aria-current={root === "models" && model === each.model ? "page" : undefined}
              >
                <Icon name="cube" />
                <span class="cut">{each.displayName || each.model}</span>
                {running.some((job) => job.model === each.model) && <span class="dot live" title="A job runs" />}
              </a>
            ))}
            {known.length > SHOWN_MODELS && <a href="/">{known.length - SHOWN_MODELS} more…</a>}
          </div>
        </div>
      )}
      <div class="sidebar-end">
        <span>{info ? `Headstart ${info.release}` : ""}</span>
        <Button
          kind="ghost"
          size="small"
          icon={scheme === "dark" ? "sun" : "moon"}
          aria-label={scheme === "dark" ? "Use light colors" : "Use dark colors"}
          onClick={switchTheme}
        />
      </div>
    </nav>
  );
}

function NavLink(props: { href: string; icon: IconName; text: string; isOn: boolean; note?: number }) {
  return (
    <a href={props.href} aria-current={props.isOn ? "page" : undefined}>
      <Icon name={props.icon} />
      <span class="cut">{props.text}</span>
      {props.note !== undefined && <span class="badge accent">{props.note}</span>}
    </a>
  );
}
