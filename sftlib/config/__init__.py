"""The typed experiment: one tree from preset, file, cluster profile and --set; no torch anywhere below here."""
