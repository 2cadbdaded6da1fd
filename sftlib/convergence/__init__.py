"""`sft convergence`: logged curves of ours or of other tools in, verdict and plot out."""
