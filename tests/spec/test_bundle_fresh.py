"""The committed bundles are what the sources join to now, and they are what the package hands out."""

import json

import pytest

import openapi
from tools.bundle import DIALECTS, SOURCE, bundle


@pytest.mark.parametrize("dialect", DIALECTS)
def test_committed_bundle_is_fresh(dialect: str) -> None:
    committed = (SOURCE / "dist" / f"{dialect}.json").read_bytes()
    is_fresh = committed == bundle(SOURCE / f"{dialect}.yaml").encode()  # a megabyte, so no diff of it
    assert is_fresh, "run python -m tools.bundle"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_package_hands_out_the_committed_bundle(dialect: str) -> None:
    assert json.loads(openapi.raw(dialect)) == openapi.load(dialect)
    openapi.load(dialect).clear()
    assert openapi.load(dialect)["openapi"] == "3.0.3"


def test_there_is_no_third_bundle() -> None:
    with pytest.raises(FileNotFoundError):
        openapi.raw("other")
