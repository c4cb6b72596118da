"""From a resolved version and features to calibrated answers."""
