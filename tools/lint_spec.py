"""The law of the contract: `python -m tools.lint_spec`.

A rule is a function of the `rules_*` modules; its docstring states it, and it yields one line a breach.
"""

import sys
from collections.abc import Callable, Iterator

from tools import rules_files, rules_operations, rules_schemas
from tools.bundle import BundleError
from tools.contract import Contract

Rule = Callable[[Contract], Iterator[str]]

RULES: tuple[Rule, ...] = (
    rules_operations.operation_ids_are_unique,
    rules_operations.native_operation_ids_follow_the_sdk,
    rules_operations.envelope_operation_ids_are_verb_noun,
    rules_operations.one_tag_that_is_the_folder,
    rules_operations.tags_are_described,
    rules_operations.operations_are_described,
    rules_operations.x_gateway_is_known,
    rules_operations.sdk_methods_are_named,
    rules_operations.streams_are_declared,
    rules_operations.keys_are_demanded,
    rules_operations.errors_are_declared,
    rules_operations.errors_have_headers,
    rules_operations.path_parameters_are_declared,
    rules_operations.envelope_queries_are_bounded,
    rules_operations.native_parameters_are_unbounded,
    rules_schemas.examples_are_named,
    rules_schemas.examples_show_how,
    rules_schemas.examples_fit_their_schema,
    rules_schemas.unions_are_mapped,
    rules_schemas.unions_by_type_are_open,
    rules_schemas.union_members_pin_their_tag,
    rules_schemas.models_are_never_enumerated,
    rules_schemas.nullable_enums_list_null,
    rules_schemas.directions_have_schemas_of_their_own,
    rules_schemas.event_streams_are_empty,
    rules_schemas.envelope_media_types_are_plain,
    rules_operations.links_lead_somewhere,
    rules_files.path_items_hold_their_operations,
    rules_files.parts_are_used,
    rules_files.files_are_used,
    rules_files.versions_agree,
    rules_files.documents_are_openapi,
)


def lint(contract: Contract) -> list[str]:
    """Every breach of every rule, as `rule: place: text`."""
    return [f"{rule.__name__}: {breach}" for rule in RULES for breach in rule(contract)]


def main() -> int:
    """Print the breaches; the exit code is 0 only when there are none."""
    try:
        breaches = lint(Contract.read())
    except BundleError as error:
        breaches = error.faults
    print("\n".join(breaches) or f"the contract keeps its {len(RULES)} rules", file=sys.stderr)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
