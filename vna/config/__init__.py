"""vna.toml: read it, check all of it at once, and write a commented one.

Nouns: configuration (the whole file), archive table, local table, node table. The values themselves are frozen dataclasses of
:mod:`vna.model`; functions of the stages receive those, never the whole configuration.
"""

from vna.config.load import SPOOLED, STORED, ArchiveOptions, Config, find_config, load_config, parse_config
from vna.config.template import config_text

__all__ = ["SPOOLED", "STORED", "ArchiveOptions", "Config", "config_text", "find_config", "load_config", "parse_config"]
