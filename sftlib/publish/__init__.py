"""What leaves the run: an adapter folded into its base, an adapter or model on a hub."""
