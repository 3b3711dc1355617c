"""Say an envelope list's query to upstream."""

from urllib.parse import urlencode

from gateway.call import Call


def cursors(call: Call) -> str:
    """The query string of upstream's list: what the caller gave, with the spec's defaults."""
    assert call.operation is not None
    names = [spec["name"] for spec in call.operation.parameters if spec["in"] == "query"]
    query = {name: call.parameters[name] for name in names if name in call.parameters}
    if "ids[]" in query and b"limit=" not in call.scope["query_string"]:
        del query["limit"]  # a page of named items has them all; upstream takes no limit with them
    return urlencode(query, doseq=True)
