"""Clients made from the envelope's spec, in three languages, each by a generator of a pinned version."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tools import installed

HERE = Path(__file__).parent
SPEC = installed.ROOT / "openapi" / "dist" / "envelope.json"
OUTPUT = installed.ROOT / "clients"
TIMEOUT = 300.0
"""Seconds that one generator may take."""


class GenerationFailed(Exception):
    """A generator refused the spec, or warned where it must not; the text is its output."""


class Generator(Protocol):
    """Makes a client from a spec in a folder that does not exist yet."""

    def __call__(self, spec: Path, output: Path) -> None:
        """Raise GenerationFailed when it cannot, NotInstalled when there is no such generator here."""


def python(spec: Path, output: Path) -> None:
    """A package of typed models and functions (openapi-python-client); a warning counts as a failure."""
    program = installed.python_of(HERE).with_name("openapi-python-client")
    config = HERE / "python" / "config.yaml"
    arguments = [f"--path={spec}", f"--config={config}", f"--output-path={output}", "--fail-on-warning"]
    _run([program, "generate", *arguments])


def typescript(spec: Path, output: Path) -> None:
    """A module of functions on fetch with a typed iterator of events (hey-api)."""
    folder = installed.node_folder(HERE / "typescript")
    program = folder / "node_modules" / ".bin" / "openapi-ts"
    _run([program, "--file", folder / "openapi-ts.config.js"], SPEC=str(spec), OUTPUT=str(output))


def go(spec: Path, output: Path) -> None:
    """A package that needs the standard library alone (openapi-generator; its Java comes with it)."""
    program = installed.python_of(HERE).with_name("openapi-generator-cli")
    _run([program, "generate", "-c", HERE / "go" / "config.yaml", "-i", spec, "-o", output])


GENERATORS: dict[str, Generator] = {"python": python, "typescript": typescript, "go": go}


def generate(language: str, output: Path, spec: Path = SPEC) -> None:
    """Write a client, in place of what the folder held.

    Args:
        language: a key of `GENERATORS`.
        output: the client's folder.
        spec: an OpenAPI document.

    Raises:
        GenerationFailed: the generator refused the spec.
        NotInstalled: the generator cannot be had.
    """
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    GENERATORS[language](spec.absolute(), output.absolute())


def _run(command: Sequence[str | Path], **variables: str) -> None:
    """Run a generator; the programs that were installed with it are found first."""
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, "PATH": path, **variables},
        timeout=TIMEOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise GenerationFailed(ended.stdout)
