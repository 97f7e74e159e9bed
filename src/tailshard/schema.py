"""Write the JSON schema that editors read: ``python -m tailshard.schema``."""

import json
from pathlib import Path

from .config import json_schema

SCHEMA_FILE = Path(__file__).with_name("pipeline.schema.json")

if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
