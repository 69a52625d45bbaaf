"""Sources of settings: flags, then the environment, then the TOML file, then the defaults.

The only reader of the environment. All errors are reported together, each with its source. An unknown variable is only
a warning, since other programs set some (Kubernetes sets EMBEDWIRE_PORT for a service called embedwire).
"""

import dataclasses
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from embedwire_server.config import otel_variables, ssl_variables, validation
from embedwire_server.config.errors import Fault, InvalidConfiguration, suggestion
from embedwire_server.config.renamed_settings import RENAMED, RENAMED_IN_FILE
from embedwire_server.config.setting_table import ALL, API_KEY, BY_KEY, FILE_ONLY, KEY_VARIABLE, PREFIX, nested
from embedwire_server.config.settings import Settings
from embedwire_server.core import proxies

_OF_CLIENTS = {"EMBEDWIRE_TARGET", "EMBEDWIRE_TOKEN"}
_PROXIES = {"https_proxy", "http_proxy", "all_proxy"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_NOT_A_TABLE = {"model_type", "dict_type"}
_CHMOD = "remove that permission with chmod o-r"
_SANDBOX_FOR_ALL = (
    "callers on other machines can make the sandbox fetch URLs of this machine's loopback addresses: "
    "accept only trusted callers"
)
_MAX_SUGGESTIONS = 100
MAX_FILE_BYTES = 4 << 20  # a larger one would delay calls while it is parsed
_SETTABLE = {name: setting for name, setting in ALL.items() if name not in FILE_ONLY}


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and the sources of those that are not defaults, by the names of flags."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[Fault, ...]


def config_file(flags: Mapping[str, str]) -> Path | None:
    """Return the path of the configuration file; None if no flag and no variable names one."""
    path = (flags.get("config") or os.environ.get(ALL["config"].variable) or "").strip()
    return Path(path) if path else None


def otel() -> dict[str, str]:
    """Return the variables of OpenTelemetry, for its SDK, which reads them as well.

    An empty one counts as unset, by the specification. The SDK does not accept it, so it is removed.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value.strip()]:
        del os.environ[name]
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def load(flags: Mapping[str, str], unknown_flags: Iterable[str] = ()) -> Configuration:
    """Read all settings.

    Args:
        flags: values by the names of the settings.
        unknown_flags: other flags on the command line.

    Raises:
        InvalidConfiguration: the settings are invalid; lists every error.
    """
    faults = [Fault(flag, _unknown_flag(flag)) for flag in unknown_flags]
    environment = {name: text for name, one in _SETTABLE.items() if (text := os.environ.get(one.variable))}
    table, path, broken = _file(config_file(flags))
    if table.pop("config", None) is not None:
        broken.append(Fault(f"{path}: config", "not allowed in the file"))
    file, other, misnamed = _flat(table, path)
    broken += misnamed
    values: dict[str, Any] = {**file, **environment, **flags}
    sources = dict.fromkeys(file, path)
    sources |= {name: ALL[name].variable for name in environment}
    sources |= {name: ALL[name].flag for name in flags if name in ALL}
    settings, found = _settings(values, sources)
    if settings is not None and (proxy := _proxy_variable(settings)):
        values["upstream_proxy"], sources["upstream_proxy"] = os.environ[proxy], proxy
        settings, found = _settings(values, sources)
    faults += [*_file_only(), *_renamed_variables(), *broken, *found, *other]
    if settings is None and not broken:  # also report conflicts among the valid ones
        wrong = {fault.setting for fault in found}
        _, more = _settings({name: value for name, value in values.items() if name not in wrong}, sources, wrong)
        faults += [fault for fault in more if fault not in faults]
    if settings is None or faults:
        raise InvalidConfiguration(faults)
    of_libraries = (*ssl_variables.faults(os.environ), *otel_variables.faults(otel()))
    warnings = (*_unknown_variables(), *of_libraries, *_exposure_warnings(settings, sources))
    return Configuration(settings, sources, warnings)


def _file(path: Path | None) -> tuple[dict[str, Any], str, list[Fault]]:
    """Return the contents of the file, its name, and the errors of reading it."""
    if path is None or not os.path.isfile(path):  # noqa: PTH113 - raises nothing; reported where `config` is checked
        return {}, "", []
    name = str(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return {}, name, [Fault(name, f"is larger than {MAX_FILE_BYTES >> 20} MiB")]
        return tomllib.loads(path.read_text("utf-8-sig")), name, []
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number with too many digits
        return {}, name, [Fault(name, f"is not valid TOML: {error}")]
    except OSError as error:
        return {}, name, [Fault(name, f"cannot be read: {error.strerror}")]


def _flat(table: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[Fault], list[Fault]]:
    """Return the settings of a file by the names of flags, the unknown keys, and the former names."""
    values: dict[str, Any] = {}
    unknown: list[Fault] = []
    renamed: list[Fault] = []
    groups = {key.rpartition(".")[0] for key in BY_KEY} | {"rate_limits"}

    def walk(found: Mapping[str, Any], prefix: str) -> None:
        for name, value in found.items():
            key = f"{prefix}{name}"
            if key in BY_KEY:
                values[BY_KEY[key].name] = value
            elif key in groups and isinstance(value, dict):
                walk(value, f"{key}.")
            elif name in RENAMED_IN_FILE:
                new = ALL[RENAMED_IN_FILE[name]]
                renamed.append(
                    Fault(f"{path}: {key}", f"is {new.path[-1]} in the table [{'.'.join(new.path[:-1])}] now", name)
                )
            elif key in groups:
                unknown.append(Fault(f"{path}: {key}", f"must be a table: [{key}]", key))
            else:
                unknown.append(Fault(f"{path}: {key}", f"is not a setting{_close_key(key, len(unknown))}", key))

    walk(table, "")
    return values, unknown, renamed


def _settings(
    values: Mapping[str, Any], sources: Mapping[str, str], wrong: Iterable[str] = ()
) -> tuple[Settings | None, list[Fault]]:
    """Return the settings or their errors, without conflicts that involve a setting in `wrong`."""
    excluded = set(wrong)
    try:
        settings = Settings(**nested(values))
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [_fault(detail, sources) for detail in details]
    found = []
    for names, message in validation.conflicts(settings):
        if not excluded.intersection(names):
            first = next((name for name in names if name in sources), names[0])
            found.append(Fault(_source(first, sources), message, first))
    return (None if found else settings), found


def _fault(detail: ErrorDetails, sources: Mapping[str, str]) -> Fault:
    location = detail["loc"]
    lengths = range(len(location), 0, -1)
    length = next((size for size in lengths if ".".join(map(str, location[:size])) in BY_KEY), 1)
    key, rest = ".".join(map(str, location[:length])), location[length:]
    name = BY_KEY[key].name if key in BY_KEY else key
    source = _source(name, sources)
    source += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "tuple_type":
        message = f"must be an array of tables: [[{key}]]"
    if detail["type"] in _UNKNOWN:
        message = f"is not a setting{'' if rest else suggestion(name, ALL)}"
    return Fault(source, message, name)


def _proxy_variable(settings: Settings) -> str | None:
    """Return the variable, such as HTTPS_PROXY, with the proxy for the upstream; the setting takes precedence."""
    url = settings.upstream.base_url
    if settings.upstream.proxy is not None or url is None or proxies.is_loopback(url):
        return None
    return proxies.variable_for(url, os.environ)


def _source(name: str, sources: Mapping[str, str]) -> str:
    """Return where to change a setting; its flag if it is not set."""
    if name not in ALL:
        return f"--{name.replace('_', '-')}"
    one = ALL[name]
    source = sources.get(name, one.flag)
    return source if source in {one.flag, one.variable} or source.lower() in _PROXIES else f"{source}: {one.key}"


def _file_only() -> Iterator[Fault]:
    for name in sorted(FILE_ONLY):
        if os.environ.get(ALL[name].variable):
            yield Fault(ALL[name].variable, f"can be set in the file only, as [[{name}]]")


def _renamed_variables() -> Iterator[Fault]:
    for old, new in RENAMED.items():
        if os.environ.get(name := PREFIX + old.upper()):
            yield Fault(name, f"is {ALL[new].variable} now", old)


def _unknown_flag(flag: str) -> str:
    if not flag.startswith("-"):
        return "is not a flag: flags begin with --"
    old = flag.removeprefix("--").replace("-", "_")
    if old in RENAMED:
        return f"is {ALL[RENAMED[old]].flag} now"
    if "apikey" in old.replace("_", ""):
        return f"is not a flag, since other users can see flags; set {KEY_VARIABLE}"
    for setting in _SETTABLE.values():
        if "_".join(setting.path) == old:
            return f"is not a flag; it is {setting.flag}"
    return f"is not a flag{suggestion(flag, (one.flag for one in _SETTABLE.values()))}"


def _close_key(key: str, count: int) -> str:
    """Return a suggestion for one of the first unknown keys; the search for each takes about 100 us."""
    return suggestion(key, BY_KEY) if count < _MAX_SUGGESTIONS else ""


def _unknown_variables() -> Iterator[Fault]:
    known = {one.variable for one in ALL.values()} | _OF_CLIENTS
    renamed = {PREFIX + old.upper() for old in RENAMED}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | renamed:
            yield Fault(name, f"is not a setting, and is ignored{suggestion(name, known)}")


def _exposure_warnings(settings: Settings, sources: Mapping[str, str]) -> Iterator[Fault]:
    """Yield warnings about secrets that other users can read, and about a sandbox that other machines can reach."""
    key_in_file = API_KEY in sources and sources[API_KEY] != KEY_VARIABLE
    for name, path, is_secret in (("config", settings.config, key_in_file), ("tls_key", settings.tls.key, True)):
        if path is not None and is_secret and path.stat().st_mode & stat.S_IROTH:
            yield Fault(
                _source(name, sources), f"every user of this machine can read the key in {path}: {_CHMOD}", name
            )
    if settings.upstream.base_url is None and not settings.server.address.is_loopback:
        yield Fault(_source("upstream", sources), _SANDBOX_FOR_ALL, "upstream")
