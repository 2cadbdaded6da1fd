"""Two cells, runs or tables of predictions, record by record."""
