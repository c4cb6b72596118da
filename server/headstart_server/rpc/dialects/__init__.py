"""The protocols of other model servers, spoken on the same port by the same predictor."""
