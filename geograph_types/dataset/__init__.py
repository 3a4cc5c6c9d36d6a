"""Checked rows → the published dataset folder: splits, configs, Parquet, the card."""
