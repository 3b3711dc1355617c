"""The image, built once, and one installation of it with the sandbox as upstream."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.container import compose
from tests.container.compose import Project


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Build the image. Without Docker the tests are skipped, in CI they fail."""
    if shutil.which("docker") is None or compose.docker("info", check=False).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("no Docker engine answers")
        pytest.skip("no Docker engine answers")
    with compose.network(), compose.project(tmp_path_factory.mktemp("build"), "build") as builder:
        builder.run("build", "gateway")
        yield


@pytest.fixture(scope="session")
def installed(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running gateway, as hardened as Compose starts it; at the end its logs hold no traceback."""
    with compose.project(tmp_path_factory.mktemp("installed"), "installed", UPSTREAM="sandbox") as project:
        project.up()
        yield project
        assert "Traceback" not in project.logs()
