// Server-sent events out of a fetch: a browser's own EventSource can send neither a body nor a key.

/** The events of an answer, parsed. Comments, ids and what is unfinished at the end are left out. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let unfinished = "";
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const blocks = (unfinished + part.value).split("\n\n");
      unfinished = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data.length) yield JSON.parse(data.join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => undefined); // it is broken already where the request was aborted
  }
}
