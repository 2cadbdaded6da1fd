"""Print the JSON Schema of experiment files, for editors that complete and check them."""

from __future__ import annotations

import argparse
import json

from sftlib.config.tree import SFTConfig
from sftlib.errors import DONE

EXAMPLE = """example (VS Code's YAML extension reads the comment in the experiment's first line):
  sft schema > sftlib.schema.json
  # yaml-language-server: $schema=sftlib.schema.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the schema is one."""


def run(args: argparse.Namespace) -> int:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SFTConfig.model_json_schema(by_alias=True)}
    print(json.dumps(schema, indent=2))
    return DONE
