"""Generated clients, and the one story that each of them has to live through against a running gateway."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import installed
from tools import clients
from tools.installed import CACHE, ROOT, NotInstalled

STORIES = ROOT / "tests" / "clients"
LANGUAGES = tuple(clients.GENERATORS)

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Story:
    """A program around a generated client.

    Args:
        folder: where the two of them lie.
        checking: compiles it, or checks its types.
        telling: runs it.
        environment: what both need, `PATH` apart.
    """

    folder: Path
    checking: Command
    telling: Command
    environment: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Fail where the program does not fit the client."""
        installed.run(self.checking, self.folder, self.environment)

    def tell(self, url: str, key: str) -> str:
        """What it prints, run against a gateway with a key that may do everything; fails where it fails."""
        gateway = {"GATEWAY_URL": url, "GATEWAY_KEY": key}
        return installed.run(self.telling, self.folder, {**self.environment, **gateway})


def prepare(language: str, folder: Path, spec: Path = clients.SPEC) -> Story:
    """Generate the client and lay its story beside it.

    Args:
        language: one of `LANGUAGES`.
        folder: does not exist yet.
        spec: the document that the client is made from.
    """
    source = STORIES / language
    if language == "typescript":
        shutil.copytree(installed.node_folder(source), folder, symlinks=True)
        _generate(language, folder / "client", spec)
        compiler = folder / "node_modules" / ".bin" / "tsc"
        return Story(folder, [compiler, "--project", folder], ["node", folder / "out" / "story.js"])
    shutil.copytree(source, folder)
    python = installed.python_of(source)
    if language == "python":
        _generate(language, folder / "client", spec)
        checking = [
            python,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            CACHE / "mypy-story",
            folder / "story.py",
        ]
        paths = {"PYTHONPATH": str(folder / "client"), "MYPYPATH": str(folder / "client")}
        return Story(folder, checking, [python, folder / "story.py"], paths)
    _generate(language, folder / "gateway", spec)
    environment = {
        "GOCACHE": str(CACHE / "go"),
        "GOPATH": str(CACHE / "gopath"),
        "GOPROXY": "off",  # it needs nothing but the standard library
        "GOTOOLCHAIN": "local",
        "HOME": str(folder),
    }
    program = folder / "story"  # -trimpath: what another folder has compiled is used again
    return Story(
        folder, [python.parent / "go", "build", "-trimpath", "-o", program, "."], [program], environment
    )


def _generate(language: str, output: Path, spec: Path) -> None:
    try:
        clients.generate(language, output, spec)
    except NotInstalled as reason:
        installed.missing(reason)
