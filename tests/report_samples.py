"""Made-up but likely facts for reports: few and many classes, several labels, numbers, hostile names."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelIssue,
    LearningPoint,
    Outlier,
    Recommendation,
    RecommendationKind,
)
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
)
from headstart_server.learning.metrics.comparison import ComparedClass, ComparedMetrics, Comparison
from headstart_server.learning.metrics.evaluation import Evaluation, evaluate
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource
from headstart_server.learning.metrics.promotion import Decision, Promotion
from headstart_server.models.version import Manifest, Version
from headstart_server.observability.energy import Energy
from headstart_server.report.examples import sample_indexes
from headstart_server.report.facts import ReportFacts

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
ANIMALS = ["bird", "cat", "deer", "dog", "fox", "frog", "hare", "horse", "owl", "ship & boat"]


def version(task: Task, class_names: list[str], metrics: Metrics, **fields) -> Version:
    manifest = Manifest(
        model=fields.pop("model", "pets"),
        job_id="d59b75513ddd4b73bc140ffdaa540871",
        backbone="efficientnet-lite0",
        backbone_digest="3f8a" * 16,
        dataset_digest="91c2" * 16,
        recipe=Ridge(
            regularization=0.0316, temperature=0.71, folds=5, views=("last", "taps"), balanced=False
        ),
        seed=7,
        example_count=metrics.example_count,
        class_names=tuple(class_names),
        metrics=metrics,
        display_name=fields.pop("display_name", ""),
        tags=fields.pop("tags", {"team": "vision"}),
        created=1_800_000_000.0,
        software="headstart 0.2.0",
        runtime="openvino bfloat16",
        fit_seconds=0.084,
        energy=Energy(joules={"cpu_time": 84.0}, grid_gco2e_per_kwh=480.0),
        head_digest="77ab" * 16,
        task=task,
    )
    return Version(
        model=manifest.model,
        number=3,
        artifact="a",
        size_bytes=54_321,
        created=1_800_000_000.0,
        expires=None,
        manifest=manifest,
        aliases=("canary", "stable"),
    )


def of_classes(
    count: int, examples: int, *, names: list[str] | None = None, skill: float = 3.4
) -> ReportFacts:
    """One class of several, predicted about as well as `skill`."""
    names = names or (
        ANIMALS[:count] if count <= len(ANIMALS) else [f"species {n:03d}" for n in range(count)]
    )
    random = np.random.default_rng(count)
    labels = np.sort(random.integers(0, count, examples))
    scores = random.normal(size=(examples, count))
    scores[np.arange(examples), labels] += skill
    # Neighbouring classes look alike.
    scores[np.arange(examples), (labels + 1) % count] += skill * 0.45
    chances = np.exp(2.5 * scores - 2.5 * scores.max(axis=1, keepdims=True))
    chances = (chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix = np.zeros((examples, count), np.float32)
    matrix[np.arange(examples), labels] = 1
    targets = Targets(
        task=Task.SINGLE_LABEL, class_names=tuple(names), matrix=matrix, weights=np.ones(examples)
    )
    ids = [f"{names[label]}/{n:04d}.jpg" for n, label in enumerate(labels)]
    found = evaluate(targets, chances, np.empty(0, np.float32), ids, source=MetricsSource.OUT_OF_FOLD)
    return _with_data(found, version(Task.SINGLE_LABEL, names, found.metrics), names, ids)


def of_several_labels() -> ReportFacts:
    """Any number of six attributes."""
    names = ["blue", "large", "metal", "red", "round", "wooden"]
    random = np.random.default_rng(6)
    truth = (random.random((300, 6)) < [0.3, 0.5, 0.2, 0.25, 0.4, 0.08]).astype(np.float32)
    scores = random.normal(size=truth.shape) + 3.2 * truth - 1.6
    chances = (1 / (1 + np.exp(-1.4 * scores))).astype(np.float32)
    thresholds = np.array([0.5, 0.45, 0.38, 0.5, 0.52, 0.3], np.float32)
    targets = Targets(
        task=Task.MULTI_LABEL, class_names=tuple(names), matrix=truth, weights=np.ones(len(truth))
    )
    ids = [f"thing-{n:03d}.png" for n in range(len(truth))]
    found = evaluate(targets, chances, thresholds, ids, source=MetricsSource.HELD_OUT)
    facts = _with_data(found, version(Task.MULTI_LABEL, names, found.metrics, model="things"), names, ids)
    manifest = replace(facts.manifest, thresholds=tuple(map(float, thresholds)))
    return replace(facts, version=replace(facts.version, manifest=manifest))


def of_numbers() -> ReportFacts:
    """Ages."""
    random = np.random.default_rng(3)
    truth = random.gamma(4, 9, 420).astype(np.float32)[:, None]
    predicted = (truth * 0.9 + 3 + random.normal(scale=4, size=truth.shape)).astype(np.float32)
    predicted[:4] += 31
    targets = Targets(task=Task.REGRESSION, class_names=("value",), matrix=truth, weights=np.ones(len(truth)))
    ids = [f"face-{n:03d}.jpg" for n in range(len(truth))]
    found = evaluate(
        targets,
        predicted,
        np.empty(0, np.float32),
        ids,
        source=MetricsSource.OUT_OF_FOLD,
        interval=(-7.0, 7.0),
    )
    return _with_data(found, version(Task.REGRESSION, [], found.metrics, model="ages"), ["31", "42"], ids)


def with_promotion(facts: ReportFacts, decision: Decision) -> ReportFacts:
    """The same facts after an alias was to be moved."""
    names = facts.manifest.class_names
    kept = decision is Decision.KEPT
    comparison = Comparison(
        task=facts.task,
        example_count=480,
        first=ComparedMetrics(accuracy=0.913, balanced_accuracy=0.9, log_loss=0.31),
        second=ComparedMetrics(accuracy=0.871 if kept else 0.942, balanced_accuracy=0.88, log_loss=0.28),
        difference=-0.042 if kept else 0.029,
        difference_low=-0.07,
        difference_high=-0.01,
        only_first_right=31,
        only_second_right=11,
        p_value=0.003,
        significant=True,
        classes=tuple(
            ComparedClass(name=name, example_count=40, first_recall=0.9, second_recall=0.9 - 0.04 * place)
            for place, name in enumerate(names[:4])
        ),
        verdict="The second version is worse, by more than chance (p = 0.003)."
        if kept
        else "The second version is better, by more than chance (p = 0.003).",
    )
    reason = "The accuracy falls from 91.3% to 87.1% on 480 examples; a fall by 1.00% is allowed."
    promotion = Promotion(
        alias="stable",
        decision=decision,
        baseline=2,
        comparison=comparison,
        reasons=(reason,) if kept else ("The accuracy rises from 91.3% to 94.2% on 480 examples.",),
    )
    return replace(facts, version=replace(facts.version, promotion=promotion))


def in_short() -> ReportFacts:
    """A version with metrics but without a stored evaluation."""
    metrics = Metrics(
        source=MetricsSource.OUT_OF_FOLD,
        example_count=40,
        accuracy=0.95,
        accuracy_low=0.84,
        accuracy_high=0.99,
        log_loss=0.21,
        confusion=((0, 0, 20), (1, 0, 2), (1, 1, 18)),
    )
    return ReportFacts(version=version(Task.SINGLE_LABEL, ["cat", "dog"], metrics, tags={}))


def unmeasured() -> ReportFacts:
    """A version of an example for each class."""
    return ReportFacts(
        version=version(Task.SINGLE_LABEL, ["cat", "dog"], Metrics()),
        evaluation=Evaluation(metrics=Metrics()),
        findings=DatasetFindings(),
    )


def hostile() -> ReportFacts:
    """Names that want to be more than names, wherever a caller can give one."""
    names = [f"{HOSTILE}{n}" for n in range(3)]
    facts = of_classes(3, 90, names=names, skill=1.0)
    made = version(
        Task.SINGLE_LABEL,
        names,
        facts.metrics,
        display_name=HOSTILE,
        tags={HOSTILE: HOSTILE, "\u202eright to left": "</style><style>*{display:none}"},
    )
    return replace(facts, version=made)


def _with_data(found: Evaluation, made: Version, names: list[str], ids: list[str]) -> ReportFacts:
    findings = _findings(names, ids)
    images = {index: image(index) for index in sample_indexes(found, findings)}
    return ReportFacts(version=made, evaluation=found, findings=findings, samples=images)


def _findings(names: list[str], ids: list[str]) -> DatasetFindings:
    is_number = names == ["31", "42"]

    def label_of(name: str) -> Target:
        return Target.of_value(float(name)) if is_number else Target.of_label(name)

    def reference(index: int) -> ExampleReference:
        folder, _, _ = ids[index].rpartition("/")
        return ExampleReference(
            index=index,
            id=ids[index],
            label=label_of(names[index % len(names)] if is_number else folder or names[index % len(names)]),
        )

    sizes = (len(ids) // 8, len(ids) // 4, len(ids) // 2, len(ids))
    return DatasetFindings(
        duplicates=(
            DuplicateGroup(
                examples=(reference(1), reference(8)),
                count=2,
                exact=False,
                contradicting=True,
                across_held_out=False,
            ),
            DuplicateGroup(
                examples=tuple(map(reference, range(20, 26))),
                count=9,
                exact=True,
                contradicting=False,
                across_held_out=True,
            ),
        ),
        duplicate_count=9,
        label_issues=tuple(
            LabelIssue(
                example=reference(index),
                suggested_label=label_of(names[(index + 1) % len(names)]),
                suggested_probability=0.97 - 0.01 * place,
                given_probability=0.01 + 0.01 * place,
            )
            for place, index in enumerate(range(2, 2 + 7 * 5, 5))
        ),
        label_issue_count=7,
        outliers=tuple(
            Outlier(example=reference(index), distance_ratio=3.4 - index / 40) for index in (3, 13, 33)
        ),
        outlier_count=3,
        learning_curve=(
            *(LearningPoint(example_count=size, score=0.93 - 2.2 / size**0.7) for size in sizes),
            LearningPoint(
                example_count=2 * len(ids), score=0.935 - 2.2 / (2 * len(ids)) ** 0.7, extrapolated=True
            ),
        ),
        imbalance=1.7,
        estimated_seconds=1.2,
        recommendations=(
            Recommendation(
                kind=RecommendationKind.LEAKAGE,
                message="1 group of equal examples is trained on and held out, which flatters the accuracy: "
                "leave one side out.",
            ),
            Recommendation(
                kind=RecommendationKind.LABEL_ISSUES, message="7 labels look wrong: look at them first."
            ),
            Recommendation(
                kind=RecommendationKind.MORE_DATA,
                message="Twice as many examples would bring about 1.4 points.",
            ),
        ),
    )


def image(index: int) -> bytes:
    """An image as small as the page shows them."""
    random = np.random.default_rng(index)
    height, width = (96, 72) if index % 3 else (64, 96)
    low, high = random.integers(40, 220, (2, 3))
    ramp = np.linspace(0, 1, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    pixels = (low + (high - low) * ramp).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return out.getvalue()


def with_choice(facts: ReportFacts, backbone: str = "efficientnet-lite0") -> ReportFacts:
    """A version whose backbone was chosen: two were tried, one did not load, for one the time was over."""
    choice = BackboneSelection(
        backbone=backbone,
        reason="It is the cheapest of those within one standard error of the best, efficientnet-lite1: "
        "behind by 1.2% ± 1.3% on 60 examples.",
        candidates=(
            BackboneCandidate(
                backbone=backbone,
                outcome=CandidateOutcome.TRIED,
                accuracy=0.95,
                standard_error=0.028,
                gap=0.0125,
                gap_standard_error=0.0128,
                milliseconds=4.81,
                megabytes=13.5,
                seconds=0.71,
            ),
            BackboneCandidate(
                backbone="efficientnet-lite1",
                outcome=CandidateOutcome.TRIED,
                accuracy=0.9625,
                standard_error=0.025,
                gap=0.0,
                gap_standard_error=0.0,
                milliseconds=7.2,
                megabytes=16.5,
                seconds=1.3,
            ),
            BackboneCandidate(
                backbone="broken",
                outcome=CandidateOutcome.FAILED,
                message="Expected one weight file of broken in package broken. Received: 0.",
                megabytes=90.0,
            ),
            BackboneCandidate(
                backbone="huge",
                outcome=CandidateOutcome.NOT_TRIED,
                message="The time budget of 2 s was used up.",
                megabytes=1234.5,
            ),
        ),
        time_budget=2.0,
        example_count=60,
    )
    manifest = replace(facts.manifest, backbone_selection=choice)
    return replace(facts, version=replace(facts.version, manifest=manifest))


SAMPLES = {
    "two": lambda: with_promotion(of_classes(2, 120), Decision.PROMOTED),
    "ten": lambda: with_promotion(of_classes(10, 520), Decision.KEPT),
    "hundred": lambda: of_classes(100, 2000),
    "several": of_several_labels,
    "numbers": of_numbers,
    "short": in_short,
    "unmeasured": unmeasured,
    "hostile": hostile,
    "chosen": lambda: with_choice(of_classes(3, 60)),
}
