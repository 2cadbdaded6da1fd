"""Prediction shards and their manifests in; merged predictions, metrics.json, CSV files and the report out."""
