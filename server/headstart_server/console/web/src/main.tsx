import { render } from "preact";

import { App } from "./app";
import { keepDraft } from "./draft";
import { followLinks } from "./router";
import { openSession } from "./session";
import { useSavedTheme } from "./theme";

useSavedTheme();
followLinks();
void openSession();
void keepDraft();
const place = document.getElementById("app");
if (place) render(<App />, place);
