"""A cell's configuration and data in; an adapter folder, metrics and a summary out."""
