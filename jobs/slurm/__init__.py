"""Elements on a Slurm cluster: arrays, their submission without a double or a gap, the queue, and the view from a node."""
