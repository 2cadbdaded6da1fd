"""Base models and tokenizers: found, staged, loaded as the experiment says."""
