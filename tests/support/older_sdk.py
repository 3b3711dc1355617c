"""Run by the interpreter of an older SDK: use it through the gateway, and print what came of it as JSON.

Usage: older_sdk.py URL, with the key in ANTHROPIC_API_KEY.
"""

import json
import sys
import time

import anthropic

MODEL = "claude-opus-5"
HELLO = [{"role": "user", "content": "Hello there"}]


def main(url):
    found = {"version": anthropic.__version__}
    with anthropic.Anthropic(base_url=url) as client:
        message = client.messages.create(model=MODEL, max_tokens=64, messages=HELLO)
        found["text"] = message.content[0].text
        found["request_id"] = message._request_id
        with client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
            found["streamed"] = "".join(stream.text_stream)
        counted = client.messages.count_tokens(model=MODEL, messages=HELLO)
        found["counted"] = counted.input_tokens == message.usage.input_tokens
        pages = [[model.id for model in client.models.list(limit=limit)] for limit in (2, 1000)]
        found["models"] = len(pages[0])
        found["pages agree"] = pages[0] == pages[1]
        params = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
        batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        deadline = time.monotonic() + 30
        while batch.processing_status != "ended" and time.monotonic() < deadline:
            time.sleep(0.2)
            batch = client.messages.batches.retrieve(batch.id)
        found["results"] = [entry.result.type for entry in client.messages.batches.results(batch.id)]
        try:
            client.messages.create(model="sandbox-400", max_tokens=1, messages=HELLO)
        except anthropic.BadRequestError as error:
            found["error"] = error.body["error"]["type"]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
