"""Read and check vna.toml.

Everything that is wrong is reported in one :class:`~vna.errors.ConfigError`: unknown keys with the nearest known one, wrong
types, values out of range, nodes that lack what their kind needs.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vna.errors import ConfigError
from vna.model import Local, Node

ENVIRONMENT_VARIABLE = "VNA_CONFIG"
FILE_NAME = "vna.toml"
SPOOL = "vna-spool"
"""Where objects on their way to S3 are spooled when nothing else is said: beside the configuration."""

STORED, SPOOLED = "stored", "spooled"
"""When an object is acknowledged: when it is in the store, or, for one on S3, durable in the spool with the upload owed."""

_KINDS = ("dimse", "dicomweb", "folder")
_ON_UPDATE = ("overwrite", "manual")
_REJECT_YOURSELF = "set 'manual', and reject there what `vna verify` reports as DIFFERENT"
_AE_TITLE_LIMIT = 16
_TYPE_NAMES = {str: "a string", int: "a whole number", dict: "a table"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """The ``[archive]`` table: where the store, the ledger and, for an archive on S3, the spool are, as absolute URL or path.

    ``acknowledge`` says when ``vna receive`` acknowledges an object: :data:`STORED` or :data:`SPOOLED`.
    """

    url: str = "archive"
    ledger: str = ""
    storage_options: dict[str, Any] = field(default_factory=dict)
    spool: str = ""
    acknowledge: str = STORED


@dataclass(frozen=True, slots=True)
class Config:
    """All of vna.toml, checked. ``path`` is the file it came from; relative paths were resolved against its folder."""

    path: Path
    archive: ArchiveOptions
    local: Local
    nodes: dict[str, Node]

    def node(self, name: str) -> Node:
        """Return the node of that name. Raises ConfigError that names the nearest known one."""
        if name in self.nodes:
            return self.nodes[name]
        known = ", ".join(sorted(self.nodes)) or "none yet"
        raise ConfigError(
            f"no node is called {name!r}{_nearest(name, self.nodes)}",
            hint=f"nodes in {self.path}: {known}; add one as [nodes.{name}]",
        )


def find_config(option: str | None) -> Path:
    """Say where vna.toml is: the option, else the environment, else the current folder. The file need not exist."""
    return Path(option or os.environ.get(ENVIRONMENT_VARIABLE) or FILE_NAME)


def load_config(path: Path) -> Config:
    """Read and check the file. Raises ConfigError with every problem it has."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration at {path}",
            hint="`vna init ARCHIVE` creates an archive and its vna.toml; `--config FILE` names another one",
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Check the text of a vna.toml that stands at ``path``. Raises ConfigError with every problem it has."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    problems: list[str] = []
    _unknown(tables, ("archive", "local", "nodes"), "", problems)
    archive = _table(tables.get("archive", {}), ArchiveOptions, "archive", problems)
    local = _table(tables.get("local", {}), Local, "local", problems)
    nodes: dict[str, Node] = {}
    node_tables = tables.get("nodes", {})
    if not isinstance(node_tables, dict):
        problems.append("[nodes] must hold tables, one a node: [nodes.NAME]")
        node_tables = {}
    for name, values in node_tables.items():
        node = _table(values, Node, f"nodes.{name}", problems, name=name)
        if node is not None:
            nodes[name] = node
            problems += _node_problems(node)
    if local is not None:
        problems += _local_problems(local)
    if archive is not None:
        problems += _archive_problems(archive)
    if problems or archive is None or local is None:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return Config(path, _resolved(archive, path.parent), local, nodes)


def _resolved(archive: ArchiveOptions, folder: Path) -> ArchiveOptions:
    """Make a relative archive URL, SQLite path and spool relative to the configuration file, not to the current folder."""
    url = archive.url if "://" in archive.url else str((folder / archive.url).absolute())
    ledger = archive.ledger
    if not ledger and "://" in archive.url:
        ledger = f"sqlite:///{(folder / 'ledger.sqlite').absolute()}"
    elif not ledger:
        ledger = f"sqlite:///{Path(url) / 'ledger.sqlite'}"
    elif ledger.startswith("sqlite:///") and not ledger.startswith("sqlite:////"):
        ledger = f"sqlite:///{(folder / ledger.removeprefix('sqlite:///')).absolute()}"
    spool = str((folder / (archive.spool or SPOOL)).absolute()) if "://" in archive.url else ""
    return ArchiveOptions(url, ledger, archive.storage_options, spool, archive.acknowledge)


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown(values: Mapping[str, Any], known: Iterable[str], where: str, problems: list[str]) -> None:
    prefix = f"[{where}] " if where else ""
    problems += [f"{prefix}unknown key {key!r}{_nearest(key, known)}" for key in values if key not in known]


def _table(values: Any, kind: type[_T], where: str, problems: list[str], **fixed: Any) -> _T | None:
    """Build one dataclass from one TOML table; add what is wrong to ``problems`` and give None."""
    if not isinstance(values, dict):
        problems.append(f"[{where}] must be a table")
        return None
    declared: dict[str, Field[Any]] = {f.name: f for f in fields(kind) if f.name not in fixed}  # type: ignore[arg-type]
    _unknown(values, declared, where, problems)
    arguments, before = dict(fixed), len(problems)
    for key, value in values.items():
        if key in declared:
            arguments[key] = _value(value, declared[key], f"[{where}] {key}", problems)
    return kind(**arguments) if len(problems) == before else None


def _value(value: Any, declared: Field[Any], where: str, problems: list[str]) -> Any:
    """Check one value against the type of the field's default."""
    factory = declared.default_factory
    default = declared.default if factory is MISSING else factory()
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        problems.append(f"{where} must be a list of strings")
    elif isinstance(default, float) or (isinstance(default, int) and declared.name.endswith("_s")):
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
        problems.append(f"{where} must be a number of seconds above 0")
    elif not isinstance(value, type(default)) or isinstance(value, bool):
        problems.append(f"{where} must be {_TYPE_NAMES[type(default)]}, not {value!r}")
    return value


def _archive_problems(archive: ArchiveOptions) -> list[str]:
    problems = []
    is_local = "://" not in archive.url
    if archive.spool and is_local:
        problems.append("[archive] spool is for archives on S3; a local archive has its own")
    known = (STORED, SPOOLED)
    if archive.acknowledge not in known:
        given = archive.acknowledge
        problems.append(f"[archive] acknowledge must be {' or '.join(known)}, not {given!r}{_nearest(given, known)}")
    elif archive.acknowledge == SPOOLED and (is_local or archive.url.startswith("file://")):
        problems.append("[archive] acknowledge = 'spooled' is for archives on S3; what is on the disk of a local one is stored")
    return problems


def _local_problems(local: Local) -> list[str]:
    problems = _ae_title_problems(local.ae_title, "[local] ae_title") + _port_problems(local.port, "[local] port", lowest=0)
    if bool(local.tls_certificate) != bool(local.tls_key):
        problems.append("[local] tls_certificate and tls_key go together: set both or neither")
    for entry in local.allow:
        title, _, address = entry.partition("@")
        if not title or not address:
            problems.append(f"[local] allow: {entry!r} must read AE_TITLE@ADDRESS")
    return problems


def _node_problems(node: Node) -> list[str]:
    where = f"[nodes.{node.name}]"
    problems = []
    if node.kind not in _KINDS:
        problems.append(f"{where} kind must be one of {', '.join(_KINDS)}, not {node.kind!r}{_nearest(node.kind, _KINDS)}")
    if node.kind == "dimse":
        problems += _ae_title_problems(node.ae_title, f"{where} ae_title") + _port_problems(node.port, f"{where} port")
    if node.kind in ("dicomweb", "folder") and not node.url:
        problems.append(f"{where} a {node.kind} node needs a url")
    if node.on_update == "reject_and_resend":
        problems.append(f"{where} on_update = 'reject_and_resend': this release sends no rejection notes; {_REJECT_YOURSELF}")
    elif node.on_update not in _ON_UPDATE:
        problems.append(f"{where} on_update must be one of {', '.join(_ON_UPDATE)}, not {node.on_update!r}")
    if node.timezone and not _is_time_zone(node.timezone):
        problems.append(f"{where} timezone {node.timezone!r} is not in the IANA time zone database")
    return problems


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _ae_title_problems(title: str, where: str) -> list[str]:
    """Check an AE title: 1 to 16 characters of the default repertoire, no backslash, not only spaces (PS3.5 6.2)."""
    if not title.strip():
        return [f"{where} is missing"]
    if len(title) > _AE_TITLE_LIMIT:
        return [f"{where} {title!r} is longer than {_AE_TITLE_LIMIT} characters"]
    if "\\" in title or not title.isascii() or not title.isprintable():
        return [f"{where} {title!r} may hold printable ASCII without backslash only"]
    return []


def _port_problems(port: int, where: str, *, lowest: int = 1) -> list[str]:
    return [] if lowest <= port <= 65535 else [f"{where} must be from {lowest} to 65535, not {port}"]
