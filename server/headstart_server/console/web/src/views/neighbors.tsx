import { contentPath } from "../examples";
import { labelText } from "../format";
import { may, modalityOf, session } from "../session";
import type { Version, VersionPredictions } from "../types";
import { Remote } from "../ui/remote";

/** The nearest training examples of a prediction, with their thumbnails. */
export function Neighbors({ result, version }: { result: VersionPredictions; version: Version }) {
  const neighbors = result.predictions[0]?.neighbors ?? [];
  const { caller, backbones } = session.value;
  const kind = modalityOf(backbones, version.lineage.backbone);
  // Contents need the right to train.
  const hasContents = version.hasExamples && may(caller, "RIGHT_TRAIN", version.model);
  return (
    <div class="stack">
      <h2 class="small">Similar training examples</h2>
      <ul class="neighbors">
        {neighbors.map((each) => (
          <li key={each.example.index}>
            {hasContents && (
              <span class="cell-content">
                <Remote target={contentPath(result.model, result.version, each.example.index, kind === "image" ? 128 : undefined)} kind={kind} alt={each.example.exampleId} />
              </span>
            )}
            <span class="cut" title={each.example.exampleId}>
              <bdi>{labelText(each.example.label)}</bdi>
            </span>
            <span class="hint cut">
              <bdi>{each.example.exampleId || `example ${each.example.index}`}</bdi>
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}
