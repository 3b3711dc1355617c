"""Folders that cannot be written stop the start, with a line that says which, who and what to do."""

import os
from pathlib import Path

import pytest

from gateway import cli
from gateway.folders import check_writable
from gateway.settings import Settings, SettingsError


def settings(data: Path, logs: Path | None = None) -> Settings:
    return Settings(upstream="sandbox", data_dir=data, log_dir=logs)


def faults_of(settings: Settings) -> tuple[str, ...]:
    try:
        check_writable(settings)
    except SettingsError as refused:
        return refused.faults
    return ()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    check_writable(settings(tmp_path / "a" / "data", tmp_path / "logs"))

    assert (tmp_path / "a" / "data").is_dir()
    assert list((tmp_path / "logs").iterdir()) == []


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    data, logs = faults_of(settings(tmp_path / "file", tmp_path / "file" / "logs"))

    assert data.startswith(f"DATA_DIR: {tmp_path / 'file'} cannot be written by uid {os.geteuid()}, gid ")
    assert f"chown -R {os.geteuid()}:{os.getegid()} {tmp_path / 'file'} " in data
    assert logs.startswith(f"LOG_DIR: {tmp_path / 'file' / 'logs'} cannot be written")


def test_a_file_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "gateway.db"
    database.touch()
    (tmp_path / "lost+found").mkdir()
    access = os.access
    for locked, faults in (
        ("lost+found", ()),
        ("gateway.db", (f"DATA_DIR: {database} cannot be written by uid ",)),
    ):
        monkeypatch.setattr(
            os, "access", lambda path, mode, name=locked: path.name != name and access(path, mode)
        )
        told = faults_of(settings(tmp_path))
        assert len(told) == len(faults)
        assert all(
            line.startswith(fault) and f" {tmp_path} " in line
            for line, fault in zip(told, faults, strict=True)
        )


def test_the_command_ends_with_1_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UPSTREAM", "sandbox")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file"))

    assert cli.main(["--env-file", os.devnull]) == 1
    assert capsys.readouterr().err.startswith("DATA_DIR: ")
