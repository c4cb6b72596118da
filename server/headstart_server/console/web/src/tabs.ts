// The views of a model, as its tabs and the search list them.

import { may } from "./session";
import type { Caller, Right } from "./types";
import type { IconName } from "./ui/icons";

export interface Tab {
  view: string;
  text: string;
  icon: IconName;
  right?: Right;
}

const TABS: readonly Tab[] = [
  { view: "try", text: "Try", icon: "play" },
  { view: "data", text: "Fix data", icon: "grid", right: "RIGHT_TRAIN" },
  { view: "map", text: "Data map", icon: "map", right: "RIGHT_TRAIN" },
  { view: "review", text: "Review", icon: "eye", right: "RIGHT_REVIEW" },
  { view: "versions", text: "Versions and releases", icon: "branch" },
  { view: "traffic", text: "Traffic", icon: "chart" },
];

/** Return the views of a model that a caller may open. */
export const modelTabs = (caller: Caller | undefined, model: string): readonly Tab[] =>
  TABS.filter((each) => !each.right || may(caller, each.right, model));
