"""The dataset → a trained, calibrated model: labels, weights, folds, Trainer."""
