"""Citations: for each document that allows them, the place of its first sentence."""

import re

from sandbox.prompts import Block, Body, blocks

_SENTENCE = re.compile(r"\s*(.+?[.!?](?=\s|$)|.+)", re.DOTALL)


def citations_in(body: Body) -> list[Block]:
    """One citation for each document or search result of the conversation that has citations enabled."""
    sources = [
        block
        for message in body["messages"]
        for block in blocks(message.get("content"))
        if block.get("type") in {"document", "search_result"}
    ]
    documents = [block for block in sources if block["type"] == "document"]
    results = [block for block in sources if block["type"] == "search_result"]
    found = [_of_document(block, index) for index, block in enumerate(documents) if _enabled(block)]
    return found + [_of_search_result(block, index) for index, block in enumerate(results) if _enabled(block)]


def _enabled(block: Block) -> bool:
    return bool((block.get("citations") or {}).get("enabled"))


def _of_document(block: Block, index: int) -> Block:
    source = block["source"]
    about = {"document_index": index, "document_title": block.get("title"), "file_id": source.get("file_id")}
    match source.get("type"):
        case "text":
            quote = _first_sentence(source["data"])
            start = source["data"].find(quote)
            place = {"type": "char_location", "start_char_index": start, "end_char_index": start + len(quote)}
        case "content":
            quote = _text_of(blocks(source["content"])[:1])
            place = {"type": "content_block_location", "start_block_index": 0, "end_block_index": 1}
        case _:
            quote = "The first page."
            place = {"type": "page_location", "start_page_number": 1, "end_page_number": 2}
    return {**place, "cited_text": quote, **about}


def _of_search_result(block: Block, index: int) -> Block:
    return {
        "type": "search_result_location",
        "cited_text": _text_of(block["content"][:1]),
        "source": block["source"],
        "title": block.get("title"),
        "search_result_index": index,
        "start_block_index": 0,
        "end_block_index": 1,
    }


def _first_sentence(text: str) -> str:
    found = _SENTENCE.match(text)
    return found[1] if found else text


def _text_of(content: list[Block]) -> str:
    return "".join(block.get("text", "") for block in content)
