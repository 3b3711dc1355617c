"""The ways to an installation: env.example, QNAP's pasted file, an image archive, the Compose of before."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from gateway import __version__
from tests.container import compose
from tests.container.compose import ROOT, call
from tests.servers import free_port

pytestmark = pytest.mark.container

ADMIN_KEY = "an-admin-key-of-the-owner-0123456789abcdef"


def test_the_example_of_settings_with_only_a_key_set(image: None, tmp_path: Path) -> None:
    example = (ROOT / "env.example").read_text()
    assert example.count("\nANTHROPIC_API_KEY=\n") == 1
    settings = tmp_path / ".env"
    settings.write_text(example.replace("\nANTHROPIC_API_KEY=\n", "\nANTHROPIC_API_KEY=sk-ant-never-sent\n"))

    with compose.project(tmp_path, "only-a-key", env_file=settings) as project:
        project.up()
        assert project.health() == "healthy"
        assert call("GET", f"{project.url}/health/ready", "")[1]["upstream"] == "anthropic"
        assert "sk-ant-never-sent" not in project.logs()


def test_the_file_for_container_station_runs_as_pasted(image: None, tmp_path: Path) -> None:
    text = (ROOT / "deploy/qnap/docker-compose.yml").read_text()
    for name, value in (("UPSTREAM", "sandbox"), ("GATEWAY_ADMIN_KEY", ADMIN_KEY)):
        assert text.count(f'{name}: ""') == 1
        text = text.replace(f'{name}: ""', f'{name}: "{value}"')
    pasted = tmp_path / "docker-compose.yml"
    pasted.write_text(text)

    with compose.project(tmp_path, "qnap", file=pasted) as project:
        project.up()
        assert call("GET", f"{project.url}/v1/models", ADMIN_KEY)[0] == 200
        shown = project.inspect()
        assert shown["Config"]["User"] == "10001:10001"
        assert shown["HostConfig"]["ReadonlyRootfs"] is True
        assert shown["HostConfig"]["CapDrop"] == ["ALL"]
        assert "Traceback" not in project.logs()


def test_the_pasted_file_without_a_key_says_what_to_set(image: None, tmp_path: Path) -> None:
    with compose.project(tmp_path, "qnap-no-key", file=ROOT / "deploy/qnap/docker-compose.yml") as project:
        ended = project.run("run", "--rm", "gateway", check=False)

    assert ended.returncode == 1
    assert "ANTHROPIC_API_KEY: is required, unless UPSTREAM=sandbox" in ended.stdout + ended.stderr


def test_the_archive_holds_the_image(image: None, tmp_path: Path) -> None:
    saved = subprocess.run(
        ["make", "--silent", "image-archive"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    archive = ROOT / saved
    try:
        with tarfile.open(archive) as files:
            manifest = files.extractfile("manifest.json")
            assert manifest is not None
            (entry,) = json.load(manifest)
            configuration = files.extractfile(entry["Config"])
            assert configuration is not None
            architecture = json.load(configuration)["architecture"]
        loaded = compose.docker("load", "--input", str(archive)).stdout
    finally:
        archive.unlink()

    assert entry["RepoTags"] == [f"anthropic-gateway:{__version__}"]
    assert archive.name == f"anthropic-gateway-{__version__}-{architecture}.tar"
    assert f"Loaded image: anthropic-gateway:{__version__}" in loaded


def old_compose() -> str:
    """The path of docker-compose 1.29."""
    for path in (shutil.which("docker-compose"), "/usr/bin/docker-compose"):
        if path is not None and Path(path).exists():
            version = subprocess.run(
                [path, "version", "--short"], capture_output=True, text=True, check=False
            )
            if version.stdout.startswith("1.29"):
                return path
    pytest.skip("docker-compose 1.29 is not installed")


def test_docker_compose_1_29_builds_starts_and_starts_anew(image: None, tmp_path: Path) -> None:
    port = free_port()
    text = (ROOT / "docker-compose.yml").read_text()
    assert text.count('"8090:8000"') == 1
    file = tmp_path / "docker-compose.yml"
    file.write_text(text.replace('"8090:8000"', f'"127.0.0.1:{port}:8000"'))
    name = f"gateway-test-{os.getpid()}-old"
    command = [old_compose(), "--project-name", name, "--project-directory", str(ROOT), "--file", str(file)]
    environment = os.environ | {"UPSTREAM": "sandbox", "GATEWAY_ADMIN_KEY": ADMIN_KEY}

    def run(*arguments: str) -> None:
        ended = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    url = f"http://127.0.0.1:{port}"
    try:
        for arguments in (["up", "-d", "--build"], ["rm", "--stop", "--force", "gateway"], ["up", "-d"]):
            run(*arguments)
            if arguments[0] == "up":
                compose.until(lambda: compose.healthy(url), 60)
                assert call("GET", f"{url}/v1/models", ADMIN_KEY)[0] == 200
    finally:
        run("down", "--volumes", "--timeout", "5")
