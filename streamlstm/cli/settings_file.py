"""Settings from a TOML file: top-level keys hold for every command, a table such as `[serve]` for that one.

The order of precedence (flag, environment, file, default) is kept by whoever asks; this module only reads the file and
says precisely what is wrong in it. An unknown key is an error and not a warning: a misspelt setting that is silently
ignored is found weeks later.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlstm.errors import UsageError

PREFIX = "STREAMLSTM_"  # of the variables that are settings
DEFAULT_CONFIG = "streamlstm.toml"  # read from the working directory if it is there


def environment_without_settings() -> dict[str, str]:
    """The environment for commands that the program starts itself: settings in it are meant for the user's server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A settings file that was read; keys are spelled as the options are, with hyphens (`data-dir`)."""

    path: Path
    common: Mapping[str, Any]  # top-level keys, for every command that has such an option
    tables: Mapping[str, Mapping[str, Any]]  # command -> its own keys, which win over the common ones

    def settings(
        self,
        command: str,
        known: Iterable[str],
        known_elsewhere: Callable[[], Iterable[str]],
        *,
        only_flags: Callable[[], Iterable[str]],
    ) -> dict[str, Any]:
        """Give the settings of one command, by option name.

        `known` are the option names of the command, `known_elsewhere` gives those of all commands and `only_flags`
        those that no file may set; both are called only for a key that is none of `known`. Raises UsageError for it.
        """
        names = set(known)
        own = self.tables.get(command, {})
        strangers = [key for key in (*own, *self.common) if key not in names]
        for key in set(only_flags()) & set(strangers) if strangers else ():
            raise UsageError(
                f"{self.path}: `{key}` cannot be set in a file: what overwrites, deletes or starts anew is only ever "
                f"done by the flag --{key}"
            )
        for key in own:
            if key not in names:
                raise UsageError(
                    f"{self.path}: `{key}` in [{command}] is not an option of {command}{_hint(key, names)}"
                )
        foreign = [key for key in self.common if key not in names]
        if foreign:
            everywhere = names | set(known_elsewhere())
            for key in foreign:
                if key not in everywhere:
                    raise UsageError(f"{self.path}: `{key}` is not an option of any command{_hint(key, everywhere)}")
        return {key: value for key, value in {**self.common, **own}.items() if key in names}


def find_config(given: Path | None, directory: Path) -> Path | None:
    """Find the settings file: the one given, else `streamlstm.toml` in `directory` if it is there, else none."""
    if given is not None:
        return given
    default = directory / DEFAULT_CONFIG
    return default if default.is_file() else None


def read_config(path: Path, commands: Iterable[str]) -> ConfigFile:
    """Read a settings file; raises UsageError if it is missing, not TOML, or has a table no command is named like."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the settings file {path}: {error.strerror}; name one with --config") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8; a settings file is TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    names = sorted(commands)
    common: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        if not isinstance(value, dict):
            common[_spelling(key)] = _setting(path, key, value)
        elif key not in names:
            raise UsageError(f"{path}: [{key}] is not a command{_hint(key, names)}")
        else:
            tables[key] = {_spelling(name): _setting(path, f"{key}.{name}", item) for name, item in value.items()}
    return ConfigFile(path=path, common=common, tables=tables)


def _spelling(key: str) -> str:
    """Options are spelled with hyphens; `data_dir` is accepted for `data-dir`."""
    return key.replace("_", "-")


def _setting(path: Path, key: str, value: Any) -> Any:
    """Check that an option can take a value of the file: text, number, true or false, or a list of these."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str | int | float | bool):
            raise UsageError(f"{path}: `{key}` must be text, a number, true, false or a list of these")
    return value


def _hint(word: str, known: Iterable[str]) -> str:
    """Close a message about an unknown word: the nearest known word, or all of them if none is near."""
    candidates = sorted(known)
    near = difflib.get_close_matches(word, candidates, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(candidates)}"
