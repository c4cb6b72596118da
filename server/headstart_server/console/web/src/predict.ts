// Predictions, from whatever the caller drops, types or shows to the camera.

import { call, path, post } from "./api";
import { uniqueId } from "./format";
import type { PredictResponse } from "./types";

export type InputValue = { kind: "image"; blob: Blob } | { kind: "text"; text: string } | { kind: "numbers"; features: number[] };

export interface Selector {
  model: string;
  version?: string;
  alias?: string;
}

export interface PredictOptions {
  unknown?: boolean;
  saliency?: boolean;
  neighbors?: number;
}

/** Predict one input with one or more versions. */
export function predict(targets: Selector[], input: InputValue, options: PredictOptions = {}): Promise<PredictResponse> {
  const request = {
    targets,
    topK: 6,
    ...(options.unknown ? { abstention: {} } : {}),
    ...(options.saliency && input.kind === "image" ? { saliency: { overlay: true } } : {}),
    ...(options.neighbors ? { neighbors: options.neighbors } : {}),
  };
  if (input.kind === "image") {
    const form = new FormData();
    form.append("request", JSON.stringify(request));
    form.append("image", input.blob, "image");
    return post<PredictResponse>("/v1/models:predict", form);
  }
  const inputs = [input.kind === "text" ? { text: input.text } : { features: input.features }];
  return call<PredictResponse>("POST", "/v1/models:predict", { ...request, inputs });
}

/** Fine-tune a version with more examples, and return the ID of the job. */
export async function learn(
  model: string,
  parentVersion: string,
  examples: readonly { input: InputValue; label: string }[],
  encode: (blob: Blob) => Promise<string>,
): Promise<string> {
  const rows = await Promise.all(
    examples.map(async ({ input, label }) => ({
      input: input.kind === "image" ? { image: await encode(input.blob) } : input.kind === "text" ? { text: input.text } : { features: input.features },
      label: { className: label },
      exampleId: `console-${uniqueId()}`,
    })),
  );
  const lines = [{ spec: { parentVersion } }, ...rows].map((each) => JSON.stringify(each)).join("\n");
  const headers = { "content-type": "application/jsonl" };
  const { job } = await post<{ job: { jobId: string } }>(path`/v1/models/${model}:fineTune`, lines, { headers });
  return job.jobId;
}
