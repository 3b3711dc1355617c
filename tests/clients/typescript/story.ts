// One user's day with the client that hey-api generates. GATEWAY_URL and GATEWAY_KEY name the gateway.
import assert from 'node:assert/strict';
import { createClient } from './client/client/index.js';
import {
  countTokens, createBatch, createKey, createMessage, deleteBatch, deleteFile, downloadFile, getBatch,
  getBatchResults, getFile, revokeKey, streamMessage, uploadFile,
} from './client/index.js';
import type { Message, UserMessage } from './client/index.js';

const model = 'claude-haiku-4-5';
const connect = (key: string) => createClient({ baseUrl: process.env.GATEWAY_URL, auth: key });
const client = connect(process.env.GATEWAY_KEY ?? '');
const ask = (content: string): UserMessage[] => [{ role: 'user', content }];
const textOf = (message: Message) =>
  message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');

async function aMessage() {
  const { data: answer } = await createMessage({
    client, body: { model, messages: ask('Hello') }, throwOnError: true,
  });
  assert.match(textOf(answer.data), /Hello/);
  assert.ok(answer.data.usage.output_tokens > 0);
  assert.match(answer.metadata.request_id, /^req_/);
  assert.ok(answer.metadata.processing_time_ms >= 0);
}

async function aStream() {
  const { stream } = await streamMessage({
    client, body: { model, messages: ask('Say 60 words') }, sseMaxRetryAttempts: 1,
  });
  const texts: string[] = [];
  let message: Message | undefined;
  for await (const event of stream) {
    if (event?.type === 'text') texts.push(event.text);
    if (event?.type === 'message_stop') message = event.message;
  }
  assert.ok(message);
  assert.ok(texts.length > 1);
  assert.equal(texts.join(''), textOf(message));
}

async function aCount() {
  const { data: answer } = await countTokens({
    client, body: { model, messages: ask('Hello') }, throwOnError: true,
  });
  assert.ok(answer.data.input_tokens > 0);
}

async function aBatch() {
  const names = ['monday', 'tuesday'];
  const requests = names.map((name) => ({ custom_id: name, params: { model, messages: ask(`Hello ${name}`) } }));
  let { data: batch } = (await createBatch({ client, body: { requests }, throwOnError: true })).data;
  const path = { batch_id: batch.id };
  for (let tries = 0; batch.processing_status !== 'ended'; tries += 1) {
    assert.ok(tries < 600);
    await new Promise((resolve) => setTimeout(resolve, 100));
    batch = (await getBatch({ client, path, throwOnError: true })).data.data;
  }
  assert.equal(batch.request_counts.succeeded, 2);
  const { data: results } = await getBatchResults({ client, path, throwOnError: true });
  assert.ok(typeof results === 'object');
  assert.deepEqual(results.data.map((entry) => entry.custom_id).sort(), names);
  for (const { custom_id: name, result } of results.data) {
    assert.ok(result.type === 'succeeded');
    assert.ok(textOf(result.message).includes(name));
  }
  await deleteBatch({ client, path, throwOnError: true });
}

async function aFile() {
  const content = 'Monday: lentil soup.\n'.repeat(1000);
  const file = new File([content], 'meals.txt', { type: 'text/plain' });
  const { data: uploaded } = await uploadFile({ client, body: { file }, throwOnError: true });
  assert.equal(uploaded.data.filename, 'meals.txt');
  assert.equal(uploaded.data.size_bytes, content.length);
  const path = { file_id: uploaded.data.id };
  const { data: downloaded } = await downloadFile({ client, path, throwOnError: true });
  assert.equal(await downloaded.text(), content);
  const { data: deleted } = await deleteFile({ client, path, throwOnError: true });
  assert.equal(deleted.data.id, uploaded.data.id);
}

async function typedErrors() {
  const missing = await getFile({ client, path: { file_id: 'file_that_is_not_there' } });
  assert.equal(missing.response?.status, 404);
  assert.equal(missing.error?.metadata.error_type, 'NotFoundError');
  assert.equal(missing.error?.metadata.request_id, missing.response?.headers.get('x-request-id'));
  const refused = await createMessage({ client, body: { model, messages: ask('Hello'), max_tokens: -1 } });
  assert.equal(refused.response?.status, 400);
  assert.equal(refused.error?.metadata.error_type, 'BadRequestError');
  assert.match(refused.error?.error ?? '', /max_tokens/);
}

async function aLimit() {
  const { data: issued } = await createKey({
    client,
    body: { name: `story-typescript-${crypto.randomUUID()}`, limits: { requests_per_minute: 1 } },
    throwOnError: true,
  });
  const call = { client: connect(issued.data.key), body: { model, messages: ask('Hello') } };
  await countTokens({ ...call, throwOnError: true });
  const refused = await countTokens(call);
  assert.equal(refused.response?.status, 429);
  assert.equal(refused.error?.metadata.error_type, 'RateLimitError');
  const seconds = Number(refused.response?.headers.get('retry-after'));
  assert.ok(seconds > 0 && seconds <= 61);
  await revokeKey({ client, path: { key_id: issued.data.id }, throwOnError: true });
}

for (const chapter of [aMessage, aStream, aCount, aBatch, aFile, typedErrors, aLimit]) await chapter();
