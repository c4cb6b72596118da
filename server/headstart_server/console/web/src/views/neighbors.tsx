import { labelText } from "../format";
import type { VersionPredictions } from "../types";

/** The nearest training examples of a prediction. */
export function Neighbors({ result }: { result: VersionPredictions }) {
  const neighbors = result.predictions[0]?.neighbors ?? [];
  return (
    <div class="stack">
      <h3>Similar training examples</h3>
      <ul class="neighbors">
        {neighbors.map((each) => (
          <li key={each.example.index}>
            <span class="cut" title={each.example.exampleId}>
              {labelText(each.example.label)}
            </span>
            <span class="hint cut">{each.example.exampleId || `example ${each.example.index}`}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
