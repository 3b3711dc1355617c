"""An upstream that counts: it answers every message at once and remembers which ones it was asked.

Runs in a container of the gateway's own image, with the standard library alone: `python upstream.py PORT`.
`GET /asked` answers how often each question came, by its text.
"""

import asyncio
import json
import sys
from collections import Counter

OUTPUT_TOKENS = 5
ANSWER = {
    "id": "msg_counted",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Counted."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": OUTPUT_TOKENS},
}
THINKS_SECONDS = 0.02

asked: Counter[str] = Counter()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection until its other side closes it."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            _, _, rest = head.partition("\r\ncontent-length:")
            body = await reader.readexactly(int(rest.partition("\r\n")[0] or 0))
            if head.startswith("post "):
                asked[json.loads(body)["messages"][0]["content"]] += 1
                await asyncio.sleep(THINKS_SECONDS)
                answer = json.dumps(ANSWER).encode()
            else:
                answer = json.dumps(asked).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_counted\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(answer), answer)
            )
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with await asyncio.start_server(serve, "0.0.0.0", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
