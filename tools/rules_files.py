"""Rules of the contract about its files and the two joined documents; each yields one line a breach."""

from collections.abc import Iterator

from openapi_spec_validator import OpenAPIV30SpecValidator

from tools import spec_yaml
from tools.bundle import KINDS, Part
from tools.contract import METHODS, Contract


def path_items_hold_their_operations(contract: Contract) -> Iterator[str]:
    """No `$ref` in place of an operation: Connexion does not follow it."""
    for dialect, joined in contract.bundles.items():
        for path, item in joined.document["paths"].items():
            for method in METHODS:
                if "$ref" in item.get(method, {}):
                    yield f"{dialect} {method.upper()} {path}: an operation must not be a $ref"


def parts_are_used(contract: Contract) -> Iterator[str]:
    """Each part of a part file is used by at least one dialect."""
    used = {part for joined in contract.bundles.values() for part in joined.parts}
    for file in sorted(contract.source.rglob("*.yaml")):
        if file.stem in KINDS:
            for name in spec_yaml.load(file):
                if Part(file, name) not in used:
                    yield f"{file.relative_to(contract.source)}: {name} is used by nothing"


def files_are_used(contract: Contract) -> Iterator[str]:
    """Each file is a root, a part file, or a path item that a root names."""
    known = {file for joined in contract.bundles.values() for file in joined.path_files.values()}
    known |= {contract.source / f"{dialect}.yaml" for dialect in contract.bundles}
    for file in sorted(contract.source.rglob("*.y*ml")):
        if file not in known and (file.stem not in KINDS or file.suffix != ".yaml"):
            yield f"{file.relative_to(contract.source)}: no root names this path item"


def versions_agree(contract: Contract) -> Iterator[str]:
    """Both documents carry the project's one version."""
    versions = {joined.document["info"]["version"] for joined in contract.bundles.values()}
    if len(versions) > 1:
        yield f"info.version differs: {', '.join(sorted(versions))}"


def documents_are_openapi(contract: Contract) -> Iterator[str]:
    """Both documents are valid OpenAPI 3.0.3."""
    for dialect, joined in contract.bundles.items():
        if joined.document.get("openapi") != "3.0.3":
            yield f"{dialect}: openapi must be 3.0.3"
        for error in OpenAPIV30SpecValidator(joined.document).iter_errors():
            pointer = "".join(f"/{member}" for member in error.absolute_path)
            yield f"{dialect} {pointer}: {error.message.splitlines()[0][:200]}"
