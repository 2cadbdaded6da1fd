"""An adapter (or none) and a test set in; committed prediction shards out."""
