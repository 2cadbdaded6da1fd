"""Files that can be trusted: atomic writing, hashes, input records, prediction shards with manifests, receipts."""
