// The messages of the API that the console uses, as they come in JSON. 64-bit integers are strings.

export interface Model {
  model: string;
  createTime?: string;
  newestVersion?: string;
  versionCount: string;
  aliases: Alias[];
  displayName: string;
  description: string;
  capture?: CapturePolicy;
  retrain?: RetrainPolicy;
}

export interface CapturePolicy {
  randomFraction: number;
  maxMargin: number;
  maxTypicality: number;
  rareClassFraction: number;
  shadowDisagreement: boolean;
  maxCount?: string;
  maxBytes?: string;
  ttl?: string;
}

export interface RetrainPolicy {
  alias: string;
  minFeedbackCount?: string;
  webhook?: string;
}

export interface TrafficSplit {
  version: string;
  fraction: number;
}

export interface Alias {
  alias: string;
  version: string;
  etag: string;
  updateTime: string;
  traffic: TrafficSplit[];
}

export interface AliasEvent {
  alias: string;
  eventTime: string;
  cause: string;
  principal: string;
  previousVersion?: string;
  version?: string;
  previousTraffic: TrafficSplit[];
  traffic: TrafficSplit[];
}

export interface Metrics {
  source: string;
  exampleCount: string;
  accuracy?: number;
  accuracyLow?: number;
  accuracyHigh?: number;
  logLoss?: number;
  balancedAccuracy?: number;
  macroF1?: number;
  meanAbsoluteError?: number;
  rSquared?: number;
  confusion: { actual: number; predicted: number; count: string }[];
}

export type Task = "TASK_SINGLE_LABEL" | "TASK_MULTI_LABEL" | "TASK_REGRESSION";

export interface Version {
  model: string;
  version: string;
  createTime: string;
  displayName: string;
  description: string;
  classNames: string[];
  metrics: Metrics;
  lineage: {
    jobId: string;
    backbone: string;
    exampleCount: string;
    addedExampleCount: string;
    removedExampleCount: string;
    parentVersion?: string;
    fitDuration?: string;
  };
  sizeBytes: string;
  aliases: string[];
  task: Task;
  promotion?: { alias: string; decision: string; reasons: string[] };
  hasExamples: boolean;
}

export interface Label {
  className?: string;
  classes?: { classNames: string[] };
  number?: number;
  probabilities?: { probabilities: Record<string, number> };
}

export interface ExampleReference {
  index: string;
  exampleId: string;
  label?: Label;
}

export interface ClassProbability {
  name: string;
  probability: number;
  selected: boolean;
}

export interface Prediction {
  label?: Label;
  classes: ClassProbability[];
  intervalLow?: number;
  intervalHigh?: number;
  abstained: boolean;
  abstentionReason: string;
  typicality?: number;
  neighbors: { example: ExampleReference; distance: number }[];
  saliency?: { className: string; overlay: string };
  predictionId?: string;
}

export interface VersionPredictions {
  model: string;
  version: string;
  predictions: Prediction[];
  task: Task;
}

export interface PredictResponse {
  results: VersionPredictions[];
  times?: { totalDuration?: string };
}

export type JobState =
  | "JOB_STATE_QUEUED"
  | "JOB_STATE_RUNNING"
  | "JOB_STATE_SUCCEEDED"
  | "JOB_STATE_FAILED"
  | "JOB_STATE_CANCELLED";

export interface Progress {
  step: string;
  fraction: number;
  done: string;
  total: string;
  accuracy?: number;
  message: string;
}

export interface Job {
  jobId: string;
  state: JobState;
  spec: { model: string; alias?: string; displayName?: string };
  progress?: Progress;
  version?: string;
  error?: { message: string };
  exampleCount: string;
  classCount: number;
  createTime: string;
  startTime?: string;
  endTime?: string;
  queuePosition: string;
  promotion?: { decision: string; reasons: string[] };
  excludedCount: string;
}

export interface JobEvent {
  jobId: string;
  number: string;
  eventTime: string;
  state: JobState;
  progress?: Progress;
  model: string;
}

export interface LabelIssue {
  example: ExampleReference;
  suggestedLabel: Label;
  suggestedProbability: number;
  givenProbability: number;
}

export interface Findings {
  labelIssues: LabelIssue[];
  labelIssueCount: string;
  duplicateCount: string;
  outlierCount: string;
  learningCurve: { exampleCount: string; score: number; extrapolated: boolean }[];
  recommendations: { kind: string; message: string }[];
  estimatedDuration?: string;
}

export interface ClassMetrics {
  name: string;
  support: string;
  precision?: number;
  recall?: number;
  f1?: number;
}

export interface Evaluation {
  metrics: Metrics;
  classes: ClassMetrics[];
  confused: { actual: string; predicted: string; count: string }[];
}

export interface Validation {
  valid: boolean;
  exampleCount: string;
  classCounts: Record<string, string>;
  faults: { index: string; exampleId: string; message: string }[];
  faultCount: string;
  warnings: string[];
  message: string;
  findings?: Findings;
  evaluation?: Evaluation;
}

export interface Comparison {
  exampleCount: string;
  first: { accuracy?: number; logLoss?: number; meanAbsoluteError?: number };
  second: { accuracy?: number; logLoss?: number; meanAbsoluteError?: number };
  difference: number;
  differenceLow: number;
  differenceHigh: number;
  onlyFirstRight: string;
  onlySecondRight: string;
  pValue: number;
  significant: boolean;
  classes: { name: string; exampleCount: string; firstRecall: number; secondRecall: number }[];
  verdict: string;
}

/** An example that only one of two versions predicts correctly. */
export interface DifferingExample {
  example: ExampleReference;
  version?: { model: string; version: string };
  firstRight: boolean;
  firstLabel?: Label;
  secondLabel?: Label;
}

export interface ExampleMap {
  exampleCount: string;
  stride: string;
  x: number[];
  y: number[];
  classNames: string[];
  classes: number[];
  values: number[];
}

export interface VersionTraffic {
  version: string;
  requestCount: string;
  errorCount: string;
  inputCount: string;
  unknownCount: string;
  latencyP50Duration?: string;
  latencyP99Duration?: string;
  featureDrift?: number;
  predictionDrift?: number;
  confidenceDrift?: number;
  comparedCount: string;
  agreedCount: string;
}

export interface Traffic {
  points?: { startTime: string; requestCount: string; errorCount: string }[];
  startTime: string;
  endTime: string;
  versions: VersionTraffic[];
}

export type Right = "RIGHT_PREDICT" | "RIGHT_TRAIN" | "RIGHT_ADMIN" | "RIGHT_FEEDBACK" | "RIGHT_REVIEW";

export interface Caller {
  authenticated: boolean;
  principal: string;
  subject: string;
  tenant: string;
  permissions: { rights: Right[]; models: string[] }[];
  operatorAccess: boolean;
}

export interface Backbone {
  backbone: string;
  modality: "MODALITY_IMAGE" | "MODALITY_TEXT" | "MODALITY_TENSOR";
  description: string;
  default: boolean;
}

export interface ServerInfo {
  release: string;
  limits: Record<string, string>;
  features: string[];
}

export type Usage = Record<string, string>;
