"""Predictions of any origin: CSV, Parquet or JSON lines with named columns come in, the same report goes out."""
