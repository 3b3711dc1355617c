"""Paths are matched as they were sent, segment by segment."""

import pytest

from gateway.errors import BadRequest
from gateway.routes import Routes, check_target, path_parameters


@pytest.fixture
def routes() -> Routes[str]:
    made: Routes[str] = Routes()
    made.add("GET", "/v1/models", "list")
    made.add("GET", "/v1/models/{model_id}", "get")
    made.add("POST", "/v1/models/{model_id}", "post")
    made.add("GET", "/v1/models/special", "special")
    made.add("GET", "/v1/models/special/deep", "deep")
    made.add("GET", "/v1/models/{model}/other", "other")
    made.add("GET", "/{anything}/models/x/y", "any")
    return made


def found(routes: Routes[str], path: bytes) -> tuple[str, dict[str, str]] | None:
    match = routes.find(path)
    if match is None:
        return None
    methods, values, names = match
    return methods["GET"], path_parameters(names.get("GET", ()), values)


@pytest.mark.parametrize(
    ("path", "target", "parameters"),
    [
        (b"/v1/models", "list", {}),
        (b"/v1/models/a", "get", {"model_id": "a"}),
        (b"/v1/models/special", "special", {}),
        (b"/v1/models/special/deep", "deep", {}),
        (b"/v1/models/special/other", "other", {"model": "special"}),
        (b"/v1/models/x/other", "other", {"model": "x"}),
        (b"/v1/models/x/y", "any", {"anything": "v1"}),
        (b"/v1/models/a%2Fb", "get", {"model_id": "a/b"}),
        (b"/v1/models/%C3%BC%20", "get", {"model_id": "ü "}),
        (b"/v1/%6Dodels", "list", {}),
        (b"/v1/models/speci%61l", "special", {}),
    ],
)
def test_found(routes: Routes[str], path: bytes, target: str, parameters: dict[str, str]) -> None:
    assert found(routes, path) == (target, parameters)


@pytest.mark.parametrize(
    "path",
    [b"/v1", b"/", b"", b"/v1/models/", b"/v1/models/a/b/c", b"/V1/models", b"/v1%2Fmodels", b"v1/models"],
)
def test_not_found(routes: Routes[str], path: bytes) -> None:
    assert found(routes, path) is None


def test_all_methods_of_a_path(routes: Routes[str]) -> None:
    match = routes.find(b"/v1/models/a")

    assert match is not None
    assert match[0] == {"GET": "get", "POST": "post"}


def test_parameters_that_are_not_utf8() -> None:
    with pytest.raises(BadRequest, match="path parameter x: not UTF-8"):
        path_parameters(["x"], [b"%ff"])


@pytest.mark.parametrize(
    "path",
    [
        b"*",
        b"v1/models",
        b"//v1",
        b"/v1//models",
        b"/v1/",
        b"/v1/.",
        b"/v1/..",
        b"/v1/../x",
        b"/./v1",
        b"/v1/%2e",
        b"/v1/%2E%2e/x",
        b"/v1/.%2e",
        b"/v1/..;/x",
        b"/v1/.;a=b",
        b"/v1/%2e%2e%3bx",
        b"/v1/x%2f..;%2fy",
        b"/v1/a\\b",
        b"/v1/a%5Cb",
        b"/v1/%00",
        b"/v1/a%0d%0ab",
        b"/v1/\x7f",
        b"/v1/%7f",
    ],
)
def test_ambiguous_targets(path: bytes) -> None:
    with pytest.raises(BadRequest):
        check_target(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/v1/models",
        b"/v1/a.b",
        b"/v1/...",
        b"/v1/a%2Fb",
        b"/v1/%25",
        b"/v1/%2e%2ea",
        b"/v1/a%20b",
        b"/v1/%",
    ],
)
def test_plain_targets(path: bytes) -> None:
    check_target(path)
