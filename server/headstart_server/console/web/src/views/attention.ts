import type { Traffic } from "../types";

/** Limits above which drift needs attention; see docs/operate/monitoring.md. */
const FEATURE_DRIFT = 3;
const PREDICTION_DRIFT = 0.25;

/** Return why the traffic of a model needs attention; undefined if it does not. */
export function needsAttention(traffic: Traffic | undefined): string | undefined {
  for (const each of traffic?.versions ?? []) {
    const requests = Number(each.requestCount);
    if (requests >= 20 && Number(each.errorCount) / requests > 0.05) return `Version ${each.version}: many requests fail`;
    if ((each.featureDrift ?? 0) > FEATURE_DRIFT) return `Version ${each.version}: inputs differ from the training examples`;
    if ((each.predictionDrift ?? 0) > PREDICTION_DRIFT) return `Version ${each.version}: predictions have shifted`;
  }
  return undefined;
}
