"""From features and labels to a fitted, calibrated, evaluated head."""
