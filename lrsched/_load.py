"""JSON and YAML from files that anybody may have written, read in bounded time and memory."""

from __future__ import annotations

import json
from typing import Any

# Entries of a YAML mapping after its merge keys, and aliases in a file: either can multiply.
MAX_MERGED = 1000
MAX_ALIASES = 1000


def load_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        TypeError: not a text.
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON must be nested at most some hundred levels deep") from None


def load_yaml(text: str) -> Any:
    """What a YAML text holds, as plain data.

    Raises:
        ValueError: not YAML, nested too deeply, or with too many aliases or merged entries.
        ImportError: PyYAML is not installed.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.aliases += self.check_event(yaml.AliasEvent)
            if self.aliases > MAX_ALIASES:
                raise ValueError(f"YAML must have at most {MAX_ALIASES} aliases, got more")
            return super().compose_node(parent, index)

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > MAX_MERGED:
                raise ValueError(
                    f"a YAML mapping must have at most {MAX_MERGED} entries, got {len(node.value)}"
                )

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(f"YAML must be readable: {error}") from None
    except RecursionError:
        raise ValueError("YAML must be nested at most some hundred levels deep") from None
