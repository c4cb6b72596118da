// Fine-tune on a folder of images, watch the job, predict, and handle a missing model.
//
//   node main.js http://localhost:8765 photos cat.jpg
//
// Every folder in photos is a class, and every file in it is an example.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { FineTuneRequestSchema, FineTuningService } from "./gen/headstart/v1/fine_tuning_service_pb.js";
import { JobState, JobStep } from "./gen/headstart/v1/job_pb.js";
import { PredictionService } from "./gen/headstart/v1/prediction_service_pb.js";

const [server, folder, image] = process.argv.slice(2);
const transport = createGrpcTransport({ baseUrl: server });
const tuning = createClient(FineTuningService, transport);

/** The spec first, then every image of a folder of classes. */
async function* requests(model: string) {
  yield create(FineTuneRequestSchema, { part: { case: "spec", value: { model } } });
  for (const name of readdirSync(folder)) {
    for (const file of readdirSync(join(folder, name))) {
      const content = { case: "image" as const, value: readFileSync(join(folder, name, file)) };
      const label = { value: { case: "className" as const, value: name } };
      const example = { exampleId: `${name}/${file}`, label, input: { content } };
      yield create(FineTuneRequestSchema, { part: { case: "examples", value: { examples: [example] } } });
    }
  }
}

const { job } = await tuning.fineTune(requests("pets"));
for await (const { event } of tuning.watch({ jobId: job!.jobId })) {
  if (event) {
    console.log(JobState[event.state], JobStep[event.progress?.step ?? 0]);
  }
}

const prediction = createClient(PredictionService, transport);
for (const model of ["pets", "missing"]) {
  try {
    const { results } = await prediction.predict({
      targets: [{ model }],
      inputs: [{ content: { case: "image", value: readFileSync(image) } }],
    });
    const best = results[0].predictions[0].classes[0];
    console.log(best.name, best.probability.toFixed(3));
  } catch (error) {
    const failure = ConnectError.from(error);
    if (failure.code !== Code.NotFound) throw error;
    console.log("not found:", failure.rawMessage);
  }
}
