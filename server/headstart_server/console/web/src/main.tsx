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
void openSession();
void keepDraft();
const place = document.getElementById("app");
if (place) render(<App />, place);
