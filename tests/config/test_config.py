"""What may stand in config.yaml, and the sentence about what may not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from config import Config, ConfigError, cron_trigger, load_config


class Amo(BaseModel):
    """A connector's settings, as small as they get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    connector: str
    base_url: str
    token_env: str
    requests_per_second: float = 7
    feeds: str | None = None


ACCOUNT = """
accounts:
  - id: main
    connector: amocrm
    base_url: https://example.amocrm.ru
    token_env: AMOCRM_TOKEN
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, **kwargs: object) -> Config:
        file = tmp_path / "config.yaml"
        file.write_text(text, encoding="utf-8")
        return load_config(file, **kwargs)

    return read


def refusal(read, text: str, **kwargs: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text, **kwargs)
    return caught.value


def test_an_empty_file_means_the_defaults(read):
    assert read("").timezone == "Europe/Moscow"


def test_a_relative_data_folder_is_meant_from_the_file(read, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert read("data_dir: kept/here").data_dir == tmp_path / "kept" / "here"


def test_the_environment_names_the_file_unless_the_command_line_does(tmp_path):
    (tmp_path / "a.yaml").write_text("timezone: Asia/Almaty")
    (tmp_path / "b.yaml").write_text("timezone: Asia/Omsk")
    env = {"VORONKA_CONFIG": str(tmp_path / "a.yaml")}
    assert load_config(env=env).timezone == "Asia/Almaty"
    assert load_config(tmp_path / "b.yaml", env=env).timezone == "Asia/Omsk"


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="voronka init"):
        load_config(tmp_path / "config.yaml")


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(read):
    error = refusal(read, "data_dir: data\ntimezon: Europe/Moscow\n")
    assert (error.key, error.line) == ("timezon", 2)
    assert "Did you mean `timezone`?" in str(error)


def test_an_unknown_key_inside_a_section_is_compared_with_that_sections_keys(read):
    error = refusal(read, "sync:\n  windows_in_parallel: 2\n  overlap: 600\n")
    assert (error.key, error.line) == ("sync.overlap", 3)
    assert "`overlap_s`" in str(error)


def test_an_unknown_key_far_from_all_known_ones_lists_them(read):
    assert "Known here: sync." in str(refusal(read, "schedule: {zzzzz: 1}"))


def test_the_connectors_own_keys_are_checked_by_its_model(read):
    error = refusal(read, ACCOUNT + "    requests_per_secnd: 3\n", settings_of={"amocrm": Amo})
    assert (error.key, error.line) == ("accounts[0].requests_per_secnd", 7)
    assert "`requests_per_second`" in str(error)


def test_without_connectors_their_keys_are_kept_unchecked(read):
    assert read(ACCOUNT).account("main").token_env == "AMOCRM_TOKEN"


def test_a_missing_key_of_an_account_points_at_the_account(read):
    error = refusal(
        read, "\naccounts:\n  - id: main\n    connector: amocrm\n    base_url: x\n", settings_of={"amocrm": Amo}
    )
    assert (error.key, error.line) == ("accounts[0].token_env", 3)


def test_an_unknown_connector_lists_the_known_ones(read):
    error = refusal(read, ACCOUNT.replace("amocrm\n", "amo\n"), settings_of={"amocrm": Amo})
    assert (error.key, error.line) == ("accounts[0].connector", 4)
    assert "amocrm" in str(error)


def test_two_accounts_cannot_share_an_id(read):
    twice = ACCOUNT + ACCOUNT.replace("accounts:\n", "").lstrip("\n")
    assert refusal(read, twice).line == 7


def test_feeds_must_name_an_account(read):
    assert refusal(read, ACCOUNT + "    feeds: mian\n").key == "accounts[0].feeds"


PBX = ACCOUNT.replace("accounts:\n", "").lstrip("\n").replace("id: main", "id: pbx")


@pytest.mark.parametrize(("first", "second"), [("", "pbx"), ("pbx", "main")])
def test_an_account_feeds_another_one_that_feeds_nobody(read, first, second):
    feeding = f"    feeds: {first}\n" if first else ""
    assert refusal(read, ACCOUNT + feeding + PBX + f"    feeds: {second}\n").key.endswith(".feeds")


def test_a_key_that_stands_twice_is_refused(read):
    error = refusal(read, "timezone: Europe/Moscow\ndata_dir: d\ntimezone: Asia/Omsk\n")
    assert (error.key, error.line) == ("timezone", 3)


def test_broken_yaml_names_the_line(read):
    assert refusal(read, "data_dir: d\ncalendar: {country: RU\n").line == 3


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("timezone: Mars", "timezone"),
        ("timezone: 3", "timezone"),
        ("accounts: 5", "accounts"),
        ("accounts:\n", "accounts"),
        ("accounts: [7]", "accounts[0]"),
        ("accounts: [{id: Main Account, connector: amocrm}]", "accounts[0].id"),
        ("calendar: {hours: {mon-fry: '09:00-18:00'}}", "calendar.hours.mon-fry"),
        ("calendar: {hours: {mon-fri: '18:00-09:00'}}", "calendar.hours.mon-fri"),
        ("calendar: {hours: {mon-fri: '09:00-10:00, 11:00-12:00, 13:00-14:00'}}", "calendar.hours.mon-fri"),
        ("schedule: {sync: nightly}", "schedule.sync"),
        ("sync: {overlap_s: five}", "sync.overlap_s"),
        ("sync: {overlap_s: -1}", "sync.overlap_s"),
        ("marts: {client_grain: dog}", "marts.client_grain"),
        ("viewers: [{login: anna, role: boss}]", "viewers[0].role"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(read, text, key):
    assert refusal(read, text).key == key


def test_a_value_on_the_next_line_is_found_by_its_key(read):
    assert refusal(read, "data_dir: d\ntimezone:\n  Mars\n").line == 2


def test_a_long_value_is_not_repeated_it_may_be_a_secret(read):
    token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9" + "a" * 40
    assert token not in str(refusal(read, f"timezone: {token}"))


def test_an_accounts_own_calendar_and_zone_win(read):
    config = read("timezone: Asia/Almaty\n" + ACCOUNT + "    timezone: Asia/Omsk\n    calendar: {country: KZ}\n")
    assert config.timezone_of("main") == "Asia/Omsk"
    countries = {name: calendar.country for name, calendar in config.mart_params().calendars.items()}
    assert countries == {"default": "RU", "main": "KZ"}


def test_a_zone_nobody_wrote_leaves_the_word_to_the_source(read):
    assert read(ACCOUNT).timezone_of("main") is None
    assert read("timezone: Asia/Almaty\n" + ACCOUNT).timezone_of("main") == "Asia/Almaty"


def test_calendars_are_not_hidden_among_the_mart_parameters(read):
    assert refusal(read, "marts: {calendars: {}}").key == "marts"


def test_cron_counts_days_of_the_week_from_sunday():
    days = {
        text: str(cron_trigger(f"0 3 * * {text}", "UTC").fields[4]) for text in ("0", "7", "1-5", "5-7", "0-6/3", "mon")
    }
    assert days == {
        "0": "sun",
        "7": "sun",
        "1-5": "mon,tue,wed,thu,fri",
        "5-7": "fri,sat,sun",
        "0-6/3": "sun,wed,sat",
        "mon": "mon",
    }


def test_the_example_configuration_is_valid_and_shows_the_defaults():
    example = load_config(Path(__file__).parents[2] / "config.example.yaml")
    plain = Config()
    same = ("timezone", "calendar", "schedule", "sync", "marts", "retention", "viewers")
    assert {name: getattr(example, name) for name in same} == {name: getattr(plain, name) for name in same}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("{cals: 30}", "retention.tables.cals` is 'cals', but it must be the name of a table"),
        ("{call: 30}", "`retention.tables`: only sync_run and audit can be cut"),
        ("{audit: often}", "retention.tables.audit` is 'often', but it must be a number of days, or keep"),
        ("{audit: 0}", "it must be a number of days"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_a_sentence(read, tables, said):
    assert said in str(refusal(read, f"retention: {{tables: {tables}}}"))


def test_a_table_that_is_not_named_stays_as_long_as_ever(read):
    now = datetime(2026, 3, 31, tzinfo=UTC)
    kept = read("retention: {tables: {audit: 30, call: keep}}").retention
    assert kept.since("audit", now) == datetime(2026, 3, 1, tzinfo=UTC)
    assert kept.since("sync_run", now) == now - timedelta(days=400)
    longer = read("retention: {raw_versions_days: 500, tables: {sync_run: 30}}").retention
    assert longer.since("sync_run", now) == now - timedelta(days=500)
    assert read("retention: {tables: {audit: keep}}").retention.since("audit", now) is None
