"""report.html: metrics.json in, one self-contained page out."""
