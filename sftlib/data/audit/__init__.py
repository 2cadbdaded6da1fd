"""The supervision audit: records in, findings out. What others learn from a reviewer's letter, before a GPU is asked for."""
