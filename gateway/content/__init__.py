"""What callers asked the gateway to keep: prompts and answers of asynchronous messages, answers to be
replayed, results of batches. Nothing else of what is said with Anthropic is kept anywhere.

Each content belongs to a key and has an end. It is written whole or not at all, never held whole in memory:

    content = Content(store, settings.data_dir / "results")

    stored = await content.put(key.id, "batch_results", answer_chunks, lifetime=30 * 86_400)   # or bytes
    stored.id, stored.size                     # keep the id in a table of your own

    async with content.writer(key.id, "replay", lifetime=86_400) as writer:   # the same, pushed
        await writer.write(b"...")
        stored = await writer.commit()         # without it nothing is kept

    async for piece in content.pieces(stored.id): ...   # ContentGone where it is deleted or past its end
    whole = await content.read(stored.id)      # where it is known to be small

    await content.delete(stored.id)            # twice is no error
    await content.delete_of(key.id)            # all of a key, or of one kind
    await content.expire()                     # what is past its end; `gateway.upkeep` does it once an hour
    await content.sizes()                      # bytes by kind
"""

from gateway.content.content import Content, ContentGone, Stored, Writer

__all__ = ["Content", "ContentGone", "Stored", "Writer"]
