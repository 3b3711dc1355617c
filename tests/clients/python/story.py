"""One user's day with the client of openapi-python-client. GATEWAY_URL and GATEWAY_KEY name the gateway."""

import io
import json
import os
import time
import uuid
from http import HTTPStatus

from anthropic_gateway_client import AuthenticatedClient
from anthropic_gateway_client.api.batches import create_batch, delete_batch, get_batch, get_batch_results
from anthropic_gateway_client.api.files import delete_file, download_file, get_file, upload_file
from anthropic_gateway_client.api.keys import create_key, revoke_key
from anthropic_gateway_client.api.messages import count_tokens, create_message, stream_message
from anthropic_gateway_client.models import (
    AssistantMessage,
    BatchItem,
    BatchItemParams,
    BatchRequest,
    BatchResultsSuccess,
    BatchSuccess,
    CreateKeyRequest,
    DeletedFileSuccess,
    Failure,
    FileSuccess,
    IssuedKeySuccess,
    KeyLimits,
    Message,
    MessageSuccess,
    StreamMessageRequest,
    SucceededResult,
    SystemMessage,
    TextBlock,
    TextEvent,
    TokensCountRequest,
    TokensCountSuccess,
    UploadFileRequest,
    UserMessage,
    UserMessageRole,
    WholeMessageRequest,
    WholeMessageStopEvent,
)
from anthropic_gateway_client.types import File

MODEL = "claude-haiku-4-5"
URL = os.environ["GATEWAY_URL"]

Client = AuthenticatedClient
Turn = AssistantMessage | SystemMessage | UserMessage


def connect(key: str) -> Client:
    return Client(base_url=URL, token=key)


def ask(content: str) -> list[Turn]:
    return [UserMessage(role=UserMessageRole.USER, content=content)]


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def a_message(client: Client) -> None:
    answer = create_message.sync(client=client, body=WholeMessageRequest(model=MODEL, messages=ask("Hello")))
    assert isinstance(answer, MessageSuccess)
    assert "Hello" in text_of(answer.data)
    assert answer.data.usage.output_tokens > 0
    assert answer.metadata.request_id.startswith("req_")
    assert answer.metadata.processing_time_ms >= 0


def a_stream(client: Client) -> None:
    body = StreamMessageRequest(model=MODEL, messages=ask("Say 60 words"))
    whole = stream_message.sync_detailed(client=client, body=body)
    texts, message = [], None
    for line in whole.content.decode().splitlines():
        if not line.startswith("data: "):
            continue
        event = json.loads(line.removeprefix("data: "))
        if event["type"] == "text":
            texts.append(TextEvent.from_dict(event).text)
        elif event["type"] == "message_stop":
            message = WholeMessageStopEvent.from_dict(event).message
    assert message is not None
    assert len(texts) > 1
    assert "".join(texts) == text_of(message)


def a_count(client: Client) -> None:
    answer = count_tokens.sync(client=client, body=TokensCountRequest(model=MODEL, messages=ask("Hello")))
    assert isinstance(answer, TokensCountSuccess)
    assert answer.data.input_tokens > 0


def a_batch(client: Client) -> None:
    names = ["monday", "tuesday"]
    items = [
        BatchItem(custom_id=name, params=BatchItemParams(model=MODEL, messages=ask(f"Hello {name}")))
        for name in names
    ]
    batch = create_batch.sync(client=client, body=BatchRequest(requests=items))
    assert isinstance(batch, BatchSuccess)
    deadline = time.monotonic() + 60
    while batch.data.processing_status != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        batch = get_batch.sync(batch.data.id, client=client)
        assert isinstance(batch, BatchSuccess)
    assert batch.data.request_counts.succeeded == 2
    results = get_batch_results.sync(batch.data.id, client=client)
    assert isinstance(results, BatchResultsSuccess)
    assert sorted(result.custom_id for result in results.data) == names
    for result in results.data:
        assert isinstance(result.result, SucceededResult)
        assert result.custom_id in text_of(result.result.message)
    delete_batch.sync(batch.data.id, client=client)


def a_file(client: Client) -> None:
    content = b"Monday: lentil soup.\n" * 1000
    file = File(payload=io.BytesIO(content), file_name="meals.txt", mime_type="text/plain")
    uploaded = upload_file.sync(client=client, body=UploadFileRequest(file=file))
    assert isinstance(uploaded, FileSuccess)
    assert uploaded.data.filename == "meals.txt"
    assert uploaded.data.size_bytes == len(content)
    downloaded = download_file.sync(uploaded.data.id, client=client)
    assert isinstance(downloaded, File)
    assert downloaded.payload.read() == content
    deleted = delete_file.sync(uploaded.data.id, client=client)
    assert isinstance(deleted, DeletedFileSuccess)
    assert deleted.data.id == uploaded.data.id


def typed_errors(client: Client) -> None:
    missing = get_file.sync_detailed("file_that_is_not_there", client=client)
    assert missing.status_code == HTTPStatus.NOT_FOUND
    assert isinstance(missing.parsed, Failure)
    assert missing.parsed.metadata.error_type == "NotFoundError"
    assert missing.parsed.metadata.request_id == missing.headers["x-request-id"]
    wrong = WholeMessageRequest(model=MODEL, messages=ask("Hello"), max_tokens=-1)
    refused = create_message.sync_detailed(client=client, body=wrong)
    assert refused.status_code == HTTPStatus.BAD_REQUEST
    assert isinstance(refused.parsed, Failure)
    assert refused.parsed.metadata.error_type == "BadRequestError"
    assert "max_tokens" in refused.parsed.error


def a_limit(client: Client) -> None:
    wanted = CreateKeyRequest(name=f"story-python-{uuid.uuid4()}", limits=KeyLimits(requests_per_minute=1))
    issued = create_key.sync(client=client, body=wanted)
    assert isinstance(issued, IssuedKeySuccess)
    limited = connect(issued.data.key)
    body = TokensCountRequest(model=MODEL, messages=ask("Hello"))
    assert count_tokens.sync_detailed(client=limited, body=body).status_code == HTTPStatus.OK
    refused = count_tokens.sync_detailed(client=limited, body=body)
    assert refused.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert isinstance(refused.parsed, Failure)
    assert refused.parsed.metadata.error_type == "RateLimitError"
    assert 0 < int(refused.headers["retry-after"]) <= 61
    revoke_key.sync(issued.data.id, client=client)


with connect(os.environ["GATEWAY_KEY"]) as admin:
    for chapter in (a_message, a_stream, a_count, a_batch, a_file, typed_errors, a_limit):
        chapter(admin)
