"""From records in files to token ids with labels: one renderer for training and for prediction."""
