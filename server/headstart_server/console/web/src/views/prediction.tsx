import { labelText, number } from "../format";
import type { VersionPredictions } from "../types";
import { Badge } from "../ui/basics";
import { Bars } from "../ui/charts";

const REASONS: Record<string, string> = {
  ABSTENTION_REASON_UNLIKE_TRAINING: "Unlike the training examples",
  ABSTENTION_REASON_LOW_PROBABILITY: "No class is probable enough",
};

/** The prediction of one version for one input. */
export function PredictionView({ result }: { result: VersionPredictions | undefined }) {
  const prediction = result?.predictions[0];
  if (!result || !prediction) return null;
  const { saliency } = prediction;
  return (
    <div class="stack">
      <div class="row wrap">
        <strong class="answer">{labelText(prediction.label)}</strong>
        {prediction.abstained && (
          <Badge tone="warn" title={REASONS[prediction.abstentionReason]}>
            unknown
          </Badge>
        )}
      </div>
      {prediction.intervalLow !== undefined && prediction.intervalHigh !== undefined && (
        <p class="muted number">
          90 % interval: {number(prediction.intervalLow)} to {number(prediction.intervalHigh)}
        </p>
      )}
      {prediction.classes.length > 0 && (
        <Bars
          label="Probabilities"
          bars={prediction.classes.map((each) => ({ name: each.name, value: each.probability, isSelected: each.selected }))}
        />
      )}
      {prediction.typicality !== undefined && (
        <p class="hint">
          {prediction.abstained ? `${REASONS[prediction.abstentionReason] ?? ""}. ` : ""}
          Typicality {prediction.typicality.toFixed(2)}: the fraction of training examples that are at least as unusual.
        </p>
      )}
      {saliency?.overlay && (
        <figure class="saliency">
          <img src={`data:image/png;base64,${saliency.overlay}`} alt={`Parts of the image that support ${saliency.className}`} />
          <figcaption class="hint">Warm parts support {saliency.className || "the number"}.</figcaption>
        </figure>
      )}
    </div>
  );
}
