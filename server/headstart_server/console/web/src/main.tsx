import { render } from "preact";

import { App } from "./app";
import { keepDraft } from "./draft";
import { hasChanges } from "./edits";
import { followLinks } from "./router";
import { openSession } from "./session";
import { useSavedTheme } from "./theme";

useSavedTheme();
followLinks();
addEventListener("beforeunload", (event) => hasChanges() && event.preventDefault());
// A file that misses its area would replace the page, with its token and its changes.
for (const kind of ["dragover", "drop"] as const) {
  addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
}
keepDraft();
void openSession();
const place = document.getElementById("app");
if (place) render(<App />, place);
