"""Supervised fine-tuning on HPC clusters: from one YAML file to a report that a reviewer can trust."""

from typing import Any

__version__ = "0.1.0"

# Name -> module. Loaded at first use, so that `import sftlib` costs nothing on a login node.
_PUBLIC = {
    "SFTConfig": "sftlib.config.tree",
    "SFTTrainer": "sftlib.train.trainer",
    "SFTDatasetProcessor": "sftlib.data.processing",
    "TemplateRegistry": "sftlib.data.templates",
    "ChatTemplate": "sftlib.data.templates",
    "AlpacaTemplate": "sftlib.data.templates",
    "SFTCallback": "sftlib.train.callbacks",
    "CheckpointCallback": "sftlib.train.callbacks",
    "ValidationCallback": "sftlib.train.validation",
    "WandBCallback": "sftlib.train.loggers",
}

__all__ = [
    "AlpacaTemplate", "ChatTemplate", "CheckpointCallback", "SFTCallback", "SFTConfig", "SFTDatasetProcessor", "SFTTrainer",
    "TemplateRegistry", "ValidationCallback", "WandBCallback", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sftlib' has no attribute {name!r}; it has: {', '.join(sorted(_PUBLIC))}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
