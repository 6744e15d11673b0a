"""BASIN_HOME: the one folder with everything a stack keeps, and the configuration in it.

    config.json      ports and secrets, chosen once (0600)
    token, ray-token the API's and Ray's bearer tokens (0600)
    postgres/ valkey/ storage/ spool/   what the parts keep
    data/            image folders to train on, unless BASIN_DATA_ROOTS names others
    logs/            one file per part, and the guard's errors
    run/             working folder of every part, process records, beat's schedule
    lock             held while a stack runs

Unix sockets (Ray, control) need short paths (107 bytes), so they live in a folder of their own under the system's
temporary folder, whose random name the configuration keeps.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.failure import ExitCode, Failure
from cli.stack.ports import choose_ports

DEFAULT_HOME = ".basin"
MAX_SHORT_FOLDER = 40
"""Characters; Ray appends about 60 for its sockets."""


class StackConfig(BaseModel):
    """What a stack chose when it was first started and keeps."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stack_id: str
    """Random; every process of the stack carries it in its environment, so that leftovers can be found."""
    short_folder: Path
    ports: dict[str, int]
    """By name, see `PORT_NAMES`."""
    postgres_password: str
    valkey_password: str
    secret: str
    """Key of launch codes and cookies."""


PORT_NAMES = ("api", "postgres", "valkey", "ray_gcs", "ray_jobs", "ray_agent")


@dataclass(frozen=True)
class Home:
    """The folder and the places in it."""

    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "config.json"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def ray_token_file(self) -> Path:
        return self.folder / "ray-token"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def valkey(self) -> Path:
        return self.folder / "valkey"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def records_file(self) -> Path:
        return self.run / "processes.json"

    @property
    def lock_file(self) -> Path:
        return self.folder / "lock"

    def make(self) -> None:
        """Creates the folders, readable by their owner only."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.valkey, self.storage, self.spool, self.data, self.logs, self.run):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise Failure(
                f"BASIN_HOME {self.folder} cannot be written ({error.strerror}): choose another folder with BASIN_HOME"
            ) from None

    def read_config(self) -> StackConfig | None:
        """The kept configuration; None before the first start. Raises Failure where it cannot be read."""
        try:
            text = self.config_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(
                f"{self.config_file} cannot be read ({error.strerror}): start as its owner, or set BASIN_HOME"
            ) from None
        try:
            return StackConfig.model_validate_json(text)
        except ValidationError:
            raise Failure(
                f"{self.config_file} is damaged: restore it, or move {self.folder} away for a fresh stack"
            ) from None

    def write_config(self, config: StackConfig) -> None:
        write_private(self.config_file, config.model_dump_json(indent=1) + "\n")

    def token(self) -> str | None:
        """The local user's API token; None before the first start."""
        try:
            return self.token_file.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def ray_token(self) -> str:
        """Ray's bearer token, made at first use."""
        if not self.ray_token_file.exists():
            write_private(self.ray_token_file, secrets.token_hex(32))
        return self.ray_token_file.read_text(encoding="utf-8").strip()


def home_from_environment() -> Home:
    return Home(Path(os.environ.get("BASIN_HOME") or DEFAULT_HOME).expanduser().absolute())


def settled_config(home: Home, *, api_port: int | None) -> StackConfig:
    """The kept configuration, or a new one; `api_port` replaces the API's port for good."""
    config = home.read_config()
    if config is None:
        config = StackConfig(
            stack_id=secrets.token_hex(8),
            short_folder=new_short_folder(),
            ports=choose_ports(PORT_NAMES),
            postgres_password=secrets.token_urlsafe(24),
            valkey_password=secrets.token_urlsafe(24),
            secret=secrets.token_urlsafe(48),
        )
    missing = [name for name in PORT_NAMES if name not in config.ports]
    ports = config.ports | choose_ports(missing)
    if api_port is not None:
        ports["api"] = api_port
    config = config.model_copy(update={"ports": ports, "short_folder": settled_short_folder(config.short_folder)})
    home.write_config(config)
    return config


def new_short_folder() -> Path:
    base = tempfile.gettempdir()
    if len(base) > MAX_SHORT_FOLDER - len("/basin-12345678"):
        base = "/tmp"  # macOS hands out long ones.
    return Path(tempfile.mkdtemp(prefix="basin-", dir=base))


def settled_short_folder(folder: Path) -> Path:
    """The folder if it is ours alone; the system may have swept it away, and a stranger may have taken the name."""
    try:
        folder.mkdir(mode=0o700)
        return folder
    except FileExistsError:
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077:
            return folder
    except OSError:
        pass
    return new_short_folder()


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, all of it or nothing of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Failure(f"{path} cannot be written: {error.strerror}", ExitCode.failed) from None
