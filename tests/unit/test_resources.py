"""What operations, requests and answers say of the resources that belong to keys."""

import json

import pytest

import openapi
from gateway.catalog import Catalog
from gateway.resources import (
    Owned,
    Subject,
    brought_forth,
    brought_forth_by_event,
    brought_forth_by_result,
    made_by,
    maker_of,
    named_in,
    named_in_query,
    told_by,
)


def uploaded(file_id):
    return {"type": "file", "file_id": file_id}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, set()),
        (
            {"messages": [{"content": [{"type": "document", "source": uploaded("file_1")}]}]},
            {("files", "file_1")},
        ),
        (
            {
                "messages": [
                    {
                        "content": [
                            {
                                "type": "tool_result",
                                "content": [{"type": "image", "source": uploaded("file_2")}],
                            },
                            {"type": "container_upload", "file_id": "file_3"},
                        ]
                    }
                ]
            },
            {("files", "file_2"), ("files", "file_3")},
        ),
        ({"container": "container_1"}, {("containers", "container_1")}),
        (
            {
                "container": {
                    "id": "container_1",
                    "skills": [
                        {"type": "custom", "skill_id": "skill_1", "version": "latest"},
                        {"type": "anthropic", "skill_id": "skill_2"},
                    ],
                }
            },
            {("containers", "container_1"), ("skills", "skill_1"), ("skills", "skill_2")},
        ),
        ({"requests": [{"params": {"container": "container_9"}}]}, {("containers", "container_9")}),
        (
            {"agent": {"type": "agent", "id": "agent_1"}, "environment_id": "e1", "vault_ids": ["v1", "v2"]},
            {("agents", "agent_1"), ("environments", "e1"), ("vaults", "v1"), ("vaults", "v2")},
        ),
        ({"agent": "agent_1", "container": None, "file_id": 5}, {("agents", "agent_1")}),
        (
            {"multiagent": {"agents": ["a1", {"type": "agent", "id": "a2"}, {"type": "self"}]}},
            {("agents", "a1"), ("agents", "a2")},
        ),
        (
            {"multiagent": {"workflows": {"predefined_agents": ["a1", {"type": "agent", "id": "a2"}]}}},
            {("agents", "a1"), ("agents", "a2")},
        ),
        (
            {"thread": {"type": "continue", "previous_message_id": "msg_1"}, "user_profile_id": "p1"},
            {("messages", "msg_1"), ("user_profiles", "p1")},
        ),
        ({"thread": {"type": "create"}}, set()),
        (
            {"resources": [{"memory_store_id": "m1"}, {"type": "file", "file_id": "f1"}]},
            {("memory_stores", "m1"), ("files", "f1")},
        ),
        (
            {"inputs": [{"type": "sessions", "session_ids": ["s1", "s2"]}]},
            {("sessions", "s1"), ("sessions", "s2")},
        ),
        # The caller's own data, not Anthropic's.
        ({"content": [{"type": "tool_use", "id": "t", "name": "open", "input": {"file_id": "mine"}}]}, set()),
        ({"tools": [{"name": "x", "input_schema": {"properties": {"file_id": {"type": "string"}}}}]}, set()),
        ({"tools": [{"name": "x", "input_examples": [{"file_id": "mine"}]}]}, set()),
        ({"output_config": {"format": {"schema": {"const": {"file_id": "mine"}}}}}, set()),
        ({"metadata": {"user_id": "u", "session_id": "s"}}, set()),
        ([], set()),
        ("file_id", set()),
    ],
)  # fmt: skip
def test_ids_in_requests_are_found(body, found):
    assert named_in(body) == found


def output(kind, file_id):
    return {
        "type": f"{kind}_tool_result",
        "content": {"type": f"{kind}_result", "content": [{"type": f"{kind}_output", "file_id": file_id}]},
    }


def test_ids_that_an_answer_brings_forth_are_found():
    message = {
        "container": {"id": "container_1", "expires_at": "2027-01-01T00:00:00Z"},
        "content": [
            {"type": "text", "text": "done"},
            output("bash_code_execution", "file_1"),
            output("code_execution", "file_2"),
            {"type": "bash_code_execution_tool_result", "content": {"type": "error", "error_code": "x"}},
        ],
    }
    assert brought_forth(message) == {
        ("containers", "container_1"),
        ("files", "file_1"),
        ("files", "file_2"),
    }
    assert made_by(output("code_execution", "file_2")) == {("files", "file_2")}
    assert brought_forth({"container": None, "content": None}) == set()


def test_a_model_that_repeats_an_id_claims_nothing():
    message = {
        "content": [
            output("mcp", "file_stolen"),
            output("web_fetch", "file_stolen"),
            {"type": "tool_use", "id": "t", "name": "x", "input": {"file_id": "file_stolen"}},
            {"type": "text", "text": '{"file_id": "file_stolen"}'},
            {
                "type": "tool_use",
                "file_id": "file_stolen",
                "content": {"content": [{"file_id": "file_stolen"}]},
            },
        ]
    }
    assert brought_forth(message) == set()


def test_a_thread_goes_on_from_its_answer():
    assert brought_forth({"id": "msg_1"}, threaded=True) == {("messages", "msg_1")}
    assert brought_forth({"id": "msg_1"}) == set()


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({"type": "message_start", "message": {"id": "msg_1", "content": []}}, {("messages", "msg_1")}),
        (
            {"type": "message_delta", "delta": {"container": {"id": "container_1"}}},
            {("containers", "container_1")},
        ),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, set()),
        (
            {"type": "content_block_start", "content_block": output("bash_code_execution", "file_1")},
            {("files", "file_1")},
        ),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "file_1"}}, set()),
        ({}, set()),
    ],
)
def test_ids_that_a_stream_brings_forth_are_found(event, found):
    assert brought_forth_by_event(event, threaded=True) == found


def test_ids_that_a_batch_brings_forth_are_found():
    message = {"container": {"id": "container_1"}, "content": [output("code_execution", "file_1")]}
    line = json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).encode()
    assert brought_forth_by_result(line) == {("containers", "container_1"), ("files", "file_1")}
    for name, found in (("container", ("containers", "container_1")), ("content", ("files", "file_1"))):
        line = json.dumps({"result": {"message": {name: message[name]}}}).encode()
        assert brought_forth_by_result(line) == {found}
    half_a_pair = line.replace(b'"result"', rb'"custom_id": "\ud83d", "result"')
    assert brought_forth_by_result(half_a_pair) == {("files", "file_1")}
    assert brought_forth_by_result(line[:-5]) == set()
    assert brought_forth_by_result(b'{"result":{"type":"errored","error":{"file_id":"file_1"}}}') == set()


@pytest.mark.parametrize(
    ("resource", "found"),
    [
        (
            {"type": "deployment_run", "id": "drun_1", "session_id": "sesn_1"},
            {("deployment_runs", "drun_1"), ("sessions", "sesn_1")},
        ),
        ({"type": "deployment_run", "id": "drun_1", "session_id": None}, {("deployment_runs", "drun_1")}),
        ({"type": "work", "data": {"type": "session", "id": "sesn_1"}}, {("sessions", "sesn_1")}),
        (
            {
                "type": "dream",
                "session_id": "sesn_1",
                "outputs": [{"type": "memory_store", "memory_store_id": "memstore_1"}],
            },
            {("sessions", "sesn_1"), ("memory_stores", "memstore_1")},
        ),
        ({"type": "session", "id": "sesn_1", "session_id": "sesn_2"}, set()),
    ],
)
def test_what_anthropic_makes_by_itself(resource, found):
    assert told_by(resource) == found


def test_what_made_a_resource_that_no_call_made():
    assert maker_of({"type": "session", "deployment_id": "depl_1"}) == ("deployments", "depl_1")
    assert maker_of({"type": "file", "scope": {"type": "session", "id": "sesn_1"}}) == ("sessions", "sesn_1")
    assert maker_of({"type": "file", "deployment_id": None}) is None
    assert maker_of({"type": "file", "scope": {"type": "skill", "id": "skill_1"}}) is None
    assert maker_of({"type": "event", "scope": {"type": "session", "id": "sesn_1"}}) is None


def test_ids_in_queries_are_found():
    batches = Subject(kind="batches", lists=True)
    for cursor in ("after_id", "before_id"):
        raw = f"{cursor}=msgbatch_1&limit=5".encode()
        assert named_in_query(batches, raw) == {("batches", "msgbatch_1")}
    raw = b"agent%5Fid=a%201&scope_id=s1&session_ids[]=s2&limit=2&page=x"
    assert named_in_query(Subject(), raw) == {("agents", "a 1"), ("sessions", "s1"), ("sessions", "s2")}
    assert named_in_query(Subject(), b"agent_id=") == {("agents", "")}  # which is nobody's
    assert named_in_query(Subject(), b"agent_id=a\xff1") == {("agents", "a\xff1")}  # nor is it a1


CATALOG = Catalog({"native": openapi.load("native"), "envelope": openapi.load("envelope")})


@pytest.mark.parametrize(
    ("operation", "subject"),
    [
        ("messages_create", Subject()),
        ("models_retrieve", Subject()),
        ("messages_batches_create", Subject("batches", makes=True)),
        ("messages_batches_cancel", Subject("batches", "message_batch_id")),
        ("list_files", Subject("files", lists=True)),
        ("upload_file", Subject("files", makes=True)),
        ("delete_skill", Subject("skills", "skill_id", deletes=True)),
        ("delete_skill_version", Subject("skills", "skill_id")),
        ("beta_vaults_credentials_delete", Subject("vaults", "vault_id")),
        ("beta_vaults_delete", Subject("vaults", "vault_id", deletes=True)),
        ("create_key", Subject()),
    ],
)
def test_what_an_operation_is_about_is_read_off_the_spec(operation, subject):
    assert CATALOG[operation].subject == subject


def test_each_path_with_an_id_is_about_a_resource():
    """A new operation of the agents, files, … stands behind the walls without anybody thinking of it."""
    for operation in CATALOG:
        if operation.scope in ("batches", "files", "skills", "agents"):
            assert operation.subject.kind
            assert (operation.subject.item is None) == ("{" not in operation.path)
            assert operation.subject != Subject(operation.subject.kind)


def test_each_kind_can_be_named_in_a_body():
    kinds = {operation.subject.kind for operation in CATALOG} - {None}
    names = {owned.kind for kind in kinds for owned in named_in({f"{kind.removesuffix('s')}_id": "x"})}
    assert names == kinds - {"batches"}
    assert named_in({"batch_id": "x"}) == {Owned("batches", "x")}
