"""Backups: one archive of all that must last, made beside a running server, checked, and put back."""

from gateway.backup.archive import ArchiveError, Manifest
from gateway.backup.checks import Finding, check_archive, check_database
from gateway.backup.create import create
from gateway.backup.places import BackupError, Places
from gateway.backup.restore import Restored, restore

__all__ = [
    "ArchiveError",
    "BackupError",
    "Finding",
    "Manifest",
    "Places",
    "Restored",
    "check_archive",
    "check_database",
    "create",
    "restore",
]
