"""Reading vna.toml: everything wrong is said at once, with the nearest right key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vna.config import config_text, find_config, load_config, parse_config
from vna.errors import ConfigError

HERE = Path("/somewhere/vna.toml")


def problems_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, HERE)
    return "\n".join(caught.value.problems)


def test_the_template_is_valid_and_names_the_archive() -> None:
    config = parse_config(config_text("archive", "sqlite:///archive/ledger.sqlite"), HERE)
    assert config.archive.url == "/somewhere/archive"
    assert config.archive.ledger == "sqlite:////somewhere/archive/ledger.sqlite"
    assert (config.local.ae_title, config.local.port, config.nodes) == ("VNA", 11112, {})


def test_an_archive_on_s3_has_a_spool_beside_the_configuration() -> None:
    config = parse_config(config_text("s3://bucket/a", "sqlite:///ledger.sqlite", endpoint_url="http://127.0.0.1:1"), HERE)
    assert config.archive.spool == "/somewhere/vna-spool"
    assert config.archive.storage_options == {"endpoint_url": "http://127.0.0.1:1"}
    assert parse_config('[archive]\nurl = "s3://bucket/a"', HERE).archive.spool == "/somewhere/vna-spool"
    assert parse_config('[archive]\nurl = "s3://bucket/a"\nspool = "/fast/disk"', HERE).archive.spool == "/fast/disk"
    assert parse_config('[archive]\nurl = "archive"', HERE).archive.spool == ""


def test_a_local_archive_has_its_own_spool() -> None:
    assert "[archive] spool is for archives on S3" in problems_of('[archive]\nurl = "archive"\nspool = "elsewhere"')


def test_objects_are_acknowledged_when_they_are_stored_unless_it_is_said_otherwise() -> None:
    on_s3 = '[archive]\nurl = "s3://bucket/a"\n'
    assert parse_config(config_text("s3://bucket/a", "sqlite:///l.sqlite"), HERE).archive.acknowledge == "stored"
    assert parse_config('[archive]\nurl = "a"', HERE).archive.acknowledge == "stored"
    assert parse_config('[archive]\nurl = "a"\nacknowledge = "stored"', HERE).archive.acknowledge == "stored"
    assert parse_config(f'{on_s3}acknowledge = "spooled"', HERE).archive.acknowledge == "spooled"
    assert "did you mean 'spooled'?" in problems_of(f'{on_s3}acknowledge = "spool"')
    assert "must be a string" in problems_of(f"{on_s3}acknowledge = 1")


@pytest.mark.parametrize("url", ["archive", "/srv/archive", "file:///srv/archive"])
def test_a_local_archive_cannot_be_owed_anything(url: str) -> None:
    told = problems_of(f'[archive]\nurl = "{url}"\nacknowledge = "spooled"')
    assert "acknowledge = 'spooled' is for archives on S3" in told


def test_the_commented_nodes_of_the_template_are_valid_when_uncommented() -> None:
    text = config_text("archive", "sqlite:///l.sqlite")
    tail = text[text.index("# [nodes.legacy]") :]
    lines = [line.removeprefix("# ") if line.startswith("# ") else line.removeprefix("#") for line in tail.splitlines()]
    config = parse_config(text + "\n".join(lines), HERE)
    assert set(config.nodes) == {"legacy", "newpacs"}
    assert config.node("legacy").retrieve_timeout_s == 3600


def test_every_problem_is_reported_at_once_with_the_nearest_key() -> None:
    text = problems_of(
        """
        [archive]
        ulr = "a"
        [local]
        prot = 1
        ae_title = "THIS_TITLE_IS_TOO_LONG"
        [nodes.a]
        kind = "dimsee"
        ae_title = "A"
        [nodes.b]
        port = 70000
        acse_timeout_s = "soon"
        """
    )
    assert "[archive] unknown key 'ulr'; did you mean 'url'?" in text
    assert "[local] unknown key 'prot'; did you mean 'port'?" in text
    assert "[nodes.a] kind must be one of dimse, dicomweb, folder, not 'dimsee'; did you mean 'dimse'?" in text
    assert "[nodes.b] acse_timeout_s must be a number of seconds above 0" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[local]\nport = '11112'", "port must be a whole number"),
        ("[local]\nport = true", "port must be a whole number"),
        ("[local]\nport = 99999", "port must be from 0 to 65535"),
        ("[local]\nallow = ['JUST_A_TITLE']", "must read AE_TITLE@ADDRESS"),
        ("[local]\nallow = 'A@1.2.3.4'", "must be a list of strings"),
        ("[local]\ntls_key = 'k.pem'", "go together"),
        ("[local]\nae_title = 'BACK\\\\SLASH'", "without backslash"),
        ("[local]\nae_title = '   '", "is missing"),
        ("[nodes.x]\nkind = 'dicomweb'", "needs a url"),
        ("[nodes.x]\nae_title = 'X'\ntimezone = 'Mars/Olympus'", "IANA time zone"),
        ("[nodes.x]\nae_title = 'X'\non_update = 'hope'", "on_update must be one of"),
        ("[nodes.x]\nae_title = 'X'\non_update = 'reject_and_resend'", "sends no rejection notes; set 'manual'"),
        ("[nodes]\nx = 3", "must be a table"),
        ("[archives]\nurl = 'a'", "did you mean 'archive'?"),
        ("archive = 3", "[archive] must be a table"),
    ],
)
def test_a_wrong_value_is_named(line: str, said: str) -> None:
    assert said in problems_of(line)


def test_a_file_that_is_no_toml_is_named() -> None:
    assert "is not valid TOML" in problems_of("[archive")


def test_a_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "vna.toml")
    assert "vna init" in caught.value.hint


def test_an_unknown_node_names_the_nearest() -> None:
    config = parse_config("[nodes.legacy]\nae_title = 'L'", HERE)
    with pytest.raises(ConfigError, match="did you mean 'legacy'"):
        config.node("legasy")


def test_urls_and_absolute_paths_stay_as_written() -> None:
    config = parse_config("[archive]\nurl = 's3://b/p'\nledger = 'postgresql+psycopg://h/l'", HERE)
    assert config.archive.url == "s3://b/p"
    assert config.archive.ledger == "postgresql+psycopg://h/l"
    assert parse_config("[archive]\nurl = 's3://b/p'", HERE).archive.ledger == "sqlite:////somewhere/ledger.sqlite"
    assert parse_config("[archive]\nurl = '/x'", HERE).archive.ledger == "sqlite:////x/ledger.sqlite"


def test_the_option_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VNA_CONFIG", "env.toml")
    assert find_config("option.toml") == Path("option.toml")
    assert find_config(None) == Path("env.toml")
    monkeypatch.delenv("VNA_CONFIG")
    assert find_config(None) == Path("vna.toml")


def test_the_template_quotes_awkward_urls() -> None:
    assert tomllib.loads(config_text('a "b"\\c', "sqlite:///x"))["archive"]["url"] == 'a "b"\\c'
