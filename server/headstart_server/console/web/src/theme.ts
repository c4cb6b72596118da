// The color scheme: that of the system, until the caller chooses another.

import { Store } from "./store";

export type Theme = "light" | "dark";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
export const theme = new Store<Theme>(systemIsDark.matches ? "dark" : "light");

function stored(): string | null {
  try {
    return localStorage.getItem("headstart-theme");
  } catch {
    return null;
  }
}

export function useSavedTheme(): void {
  const saved = stored();
  if (saved === "light" || saved === "dark") apply(saved);
  systemIsDark.addEventListener("change", () => {
    if (!stored()) theme.set(systemIsDark.matches ? "dark" : "light");
  });
}

function apply(value: Theme): void {
  document.documentElement.dataset.theme = value;
  theme.set(value);
}

export function switchTheme(): void {
  const value = theme.value === "dark" ? "light" : "dark";
  apply(value);
  try {
    localStorage.setItem("headstart-theme", value);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
}
