"""Where settings come from: flags first, then the environment, then the TOML file, then the defaults.

The only reader of the environment. All faults are found at once, each with its place; what the environment has too much
is a warning, since others write there as well (Kubernetes sets EMBEDWIRE_PORT for a service called embedwire).
"""

import dataclasses
import difflib
import os
import ssl
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from embedwire_server.config.settings import Settings
from embedwire_server.config.validation import SettingsConflict
from embedwire_server.upstreams.http import proxies

PREFIX = "EMBEDWIRE_"
KEY_VARIABLE = "TWELVELABS_API_KEY"
_OF_CLIENTS = {"EMBEDWIRE_TARGET", "EMBEDWIRE_TOKEN"}
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # read by OpenSSL, for connections to the upstream
_PROXIES = {"https_proxy", "http_proxy", "all_proxy"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_CHMOD = "take the right away, with chmod o-r"
_SANDBOX_FOR_ALL = (
    "callers beyond this machine can make the sandbox fetch URLs of this machine's loopback addresses: "
    "let only callers in whom you trust with that"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: a flag, a variable, or a key of the file. `setting` is what it is about."""

    place: str
    words: str
    setting: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


class InvalidConfiguration(ValueError):
    """The settings cannot be used; `faults` are all that is wrong with them."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and where those that are no defaults come from."""

    settings: Settings
    places: Mapping[str, str]
    warnings: tuple[Fault, ...]


def load(flags: Mapping[str, str], unknown_flags: Iterable[str] = ()) -> Configuration:
    """Read all settings.

    Args:
        flags: by the names of the settings.
        unknown_flags: what else is on the command line.

    Raises:
        InvalidConfiguration: with every fault.
    """
    faults = [Fault(flag, f"is no flag{_meant(flag, map(flag_of, _settable()))}") for flag in unknown_flags]
    environment = {name: text for name in _settable() if (text := os.environ.get(variable(name)))}
    file, path, broken = _file((flags.get("config") or environment.get("config") or "").strip())
    if file.pop("config", None) is not None:
        broken.append(Fault(f"{path}: config", "one file cannot name another"))
    values = {**file, **environment, **flags}
    places = dict.fromkeys(file, path)
    places |= {name: variable(name) for name in environment} | {name: flag_of(name) for name in flags}
    settings, found = _settings(values, places)
    if settings is not None and (proxy := _proxy_variable(settings)):
        values["upstream_proxy"], places["upstream_proxy"] = os.environ[proxy], proxy
        settings, found = _settings(values, places)
    faults += [*_file_only(), *broken, *found]
    if settings is None and not broken:  # what is right may not go together
        wrong = {fault.setting for fault in found}
        _, more = _settings({name: value for name, value in values.items() if name not in wrong}, places, wrong)
        faults += [fault for fault in more if fault not in faults]
    if settings is None or faults:
        raise InvalidConfiguration(faults)
    warnings = (*_unknown_variables(), *_authorities(), *_exposed(settings, places))
    return Configuration(settings, places, warnings)


def variable(name: str) -> str:
    """The variable of a setting."""
    return KEY_VARIABLE if name == "api_key" else PREFIX + name.upper()


def _settable() -> list[str]:
    return [name for name in Settings.model_fields if name not in Settings.FILE_ONLY]


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def _file(path: str) -> tuple[dict[str, Any], str, list[Fault]]:
    """What the file says, its name, and what keeps it from being read."""
    if not path or not Path(path).is_file():  # a missing one is reported where `config` is checked
        return {}, "", []
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig")), path, []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return {}, path, [Fault(path, f"is not valid TOML: {error}")]
    except OSError as error:
        return {}, path, [Fault(path, f"cannot be read: {error.strerror}")]


def _settings(
    values: Mapping[str, Any], places: Mapping[str, str], wrong: Iterable[str] = ()
) -> tuple[Settings | None, list[Fault]]:
    """The settings, or the faults that they have, without those about what is known to be wrong."""
    try:
        return Settings(**values), []
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    return None, [fault for detail in details for fault in _faults(detail, places, set(wrong))]


def _faults(detail: ErrorDetails, places: Mapping[str, str], wrong: set[str]) -> Iterator[Fault]:
    conflict = detail.get("ctx", {}).get("error")
    if isinstance(conflict, SettingsConflict):
        for names, words in conflict.faults:
            if not wrong.intersection(names):
                first = next((name for name in names if name in places), names[0])
                yield Fault(_place(first, places), words, first)
        return
    name, *rest = detail["loc"]
    place = _place(str(name), places)
    place += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    words = detail["msg"].removeprefix("Value error, ")
    if detail["type"] in _UNKNOWN:
        words = f"is no setting{'' if rest else _meant(str(name), Settings.model_fields)}"
    yield Fault(place, words, str(name))


def _proxy_variable(settings: Settings) -> str | None:
    """The variable that other programs read as well, if it names a proxy for the upstream; the setting wins."""
    url = settings.upstream_url
    if settings.upstream_proxy is not None or url is None or proxies.is_loopback(url):
        return None
    return proxies.variable_for(url, os.environ)


def _place(name: str, places: Mapping[str, str]) -> str:
    """Where a setting is to be changed; what is nowhere set may be by a flag."""
    place = places.get(name, flag_of(name))
    return place if place in {flag_of(name), variable(name)} or place.lower() in _PROXIES else f"{place}: {name}"


def _file_only() -> Iterator[Fault]:
    for name in sorted(Settings.FILE_ONLY):
        if os.environ.get(variable(name)):
            yield Fault(variable(name), f"can be set in the file only, as [[{name}]]")


def _unknown_variables() -> Iterator[Fault]:
    known = {variable(name) for name in Settings.model_fields} | _OF_CLIENTS
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            yield Fault(name, f"is no setting, and is ignored{_meant(name, known)}")


def _exposed(settings: Settings, places: Mapping[str, str]) -> Iterator[Fault]:
    """What others on this machine, or beyond it, can read or do, and should not."""
    key_in_file = "api_key" in places and places["api_key"] != KEY_VARIABLE
    for name, path, is_secret in (("config", settings.config, key_in_file), ("tls_key", settings.tls_key, True)):
        if path is not None and is_secret and path.stat().st_mode & stat.S_IROTH:
            yield Fault(_place(name, places), f"every user of this machine can read the key in {path}: {_CHMOD}", name)
    if settings.upstream_url is None and not settings.listen_address.is_loopback:
        yield Fault(_place("upstream", places), _SANDBOX_FOR_ALL, "upstream")


def _authorities() -> Iterator[Fault]:
    """What is wrong with the authorities that the environment names: OpenSSL says nothing, and then trusts none."""
    for name in _AUTHORITIES:
        if not (path := os.environ.get(name)):
            continue
        try:
            if name == "SSL_CERT_DIR":
                os.listdir(path)  # noqa: PTH208 - whether it can be read
            else:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError as error:  # also an ssl.SSLError
            words = "holds no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            yield Fault(name, f"cannot be used: {words}; no certificate of an upstream will be trusted because of it")


def _meant(name: str, known: Iterable[str]) -> str:
    candidates = {candidate.removeprefix(PREFIX): candidate for candidate in known}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), candidates, 1, 0.75)
    return f"; did you mean {candidates[close[0]]}?" if close else ""
