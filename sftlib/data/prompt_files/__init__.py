"""Labelled records and strategies in; chat-format JSONL out, for training with any tool."""
