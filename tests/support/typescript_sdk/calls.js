// What a program does with the official TypeScript SDK: `node calls.js NAME` makes one of the calls below.
// Base URL and key come from the environment, where the SDK looks for them itself.
import assert from 'node:assert/strict';
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';

const client = new Anthropic();
const model = 'claude-opus-5-5';
const ask = (content, rest = {}) => ({
  model,
  max_tokens: 200,
  messages: [{ role: 'user', content }],
  ...rest,
});
const text = (message) => message.content.find((block) => block.type === 'text').text;

const calls = {
  async create() {
    const { data: message, response } = await client.messages.create(ask('Hello')).withResponse();
    assert.equal(message.role, 'assistant');
    assert.match(text(message), /Hello/);
    assert.ok(message.usage.output_tokens > 0);
    assert.equal(message._request_id, response.headers.get('request-id'));
    assert.match(message._request_id, /^req_/);
  },

  async stream() {
    const seen = [];
    const events = client.messages.stream(ask('Say 60 words please: 60 words'));
    events.on('text', (delta) => seen.push(delta));
    const message = await events.finalMessage();
    assert.ok(seen.length > 1);
    assert.equal(seen.join(''), text(message));
    assert.equal(message.stop_reason, 'end_turn');

    const types = [];
    for await (const event of await client.messages.create(ask('Hello', { stream: true }))) types.push(event.type);
    assert.equal(types[0], 'message_start');
    assert.equal(types.at(-1), 'message_stop');
  },

  async parse() {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string' }, degrees: { type: 'integer' } },
      required: ['city', 'degrees'],
      additionalProperties: false,
    };
    const message = await client.messages.parse(
      ask('How warm is it?', { output_config: { format: jsonSchemaOutputFormat(schema) } }),
    );
    assert.equal(typeof message.parsed_output.city, 'string');
    assert.ok(Number.isInteger(message.parsed_output.degrees));
  },

  async tool_loop() {
    const asked = [];
    const weather = betaTool({
      name: 'get_weather',
      description: 'Tells the weather of a city.',
      inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
      run: ({ city }) => {
        asked.push(city);
        return '21 degrees and sunny';
      },
    });
    const message = await client.beta.messages.toolRunner(ask('What is the weather?', { tools: [weather] }));
    assert.equal(asked.length, 1);
    assert.match(text(message), /21 degrees and sunny/);
  },

  async count() {
    const { messages } = ask('Hello');
    const short = await client.messages.countTokens({ model, messages });
    const long = await client.messages.countTokens({ model, messages: [...messages, ...ask('x'.repeat(400)).messages] });
    assert.ok(short.input_tokens > 0);
    assert.ok(long.input_tokens >= short.input_tokens + 100);
  },

  async models() {
    const whole = await client.models.list({ limit: 1000 });
    const ids = [];
    for await (const one of client.models.list({ limit: 3 })) ids.push(one.id);
    assert.ok(ids.length > 6);
    assert.deepEqual(ids, whole.data.map((one) => one.id));
    assert.equal((await client.models.retrieve(ids[0])).id, ids[0]);
  },

  async batches() {
    const requests = ['a', 'b', 'c'].map((id) => ({ custom_id: id, params: ask(`Hello ${id}`) }));
    let batch = await client.messages.batches.create({ requests });
    assert.equal(batch.processing_status, 'in_progress');
    for (let tries = 0; batch.processing_status !== 'ended' && tries < 100; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      batch = await client.messages.batches.retrieve(batch.id);
    }
    assert.equal(batch.request_counts.succeeded, 3);
    assert.ok(batch.results_url.startsWith(`${process.env.ANTHROPIC_BASE_URL}/v1/`), batch.results_url);

    const answers = new Map();
    for await (const { custom_id: id, result } of await client.messages.batches.results(batch.id)) {
      answers.set(id, text(result.message));
    }
    assert.deepEqual([...answers.keys()].sort(), ['a', 'b', 'c']);
    assert.match(answers.get('b'), /Hello b/);

    const listed = [];
    for await (const one of client.messages.batches.list({ limit: 1 })) listed.push(one.id);
    assert.ok(listed.includes(batch.id));
    const other = await client.messages.batches.create({ requests });
    assert.equal((await client.messages.batches.cancel(other.id)).processing_status, 'canceling');
    assert.equal((await client.messages.batches.delete(batch.id)).id, batch.id);
    await assert.rejects(client.messages.batches.retrieve(batch.id), Anthropic.NotFoundError);
  },

  async files() {
    const content = Buffer.from('The grass is green.\n'.repeat(10_000));
    const file = await client.files.upload({ file: await toFile(content, 'grüße.txt', { type: 'text/plain' }) });
    assert.equal(file.filename, 'grüße.txt');
    assert.equal(file.size_bytes, content.length);

    const document = { type: 'document', source: { type: 'file', file_id: file.id } };
    const message = await client.messages.create(ask([document, { type: 'text', text: 'Summarise' }]));
    assert.match(text(message), /Summarise/);

    const download = await client.files.download(file.id);
    assert.ok(Buffer.from(await download.arrayBuffer()).equals(content));
    assert.equal((await client.files.retrieveMetadata(file.id)).id, file.id);
    const listed = [];
    for await (const one of client.files.list({ limit: 1 })) listed.push(one.id);
    assert.ok(listed.includes(file.id));
    await client.files.delete(file.id);
    await assert.rejects(client.files.retrieveMetadata(file.id), Anthropic.NotFoundError);
  },

  async skills() {
    const manifest = (words) => `---\nname: greeter\ndescription: ${words}\n---\nSay hello.\n`;
    const part = (words) => toFile(Buffer.from(manifest(words)), 'greeter/SKILL.md', { type: 'text/markdown' });
    const skill = await client.skills.create({ files: [await part('Greets people.')] });
    const version = await client.skills.versions.create(skill.id, { files: [await part('Greets all people.')] });
    const versions = [];
    for await (const one of client.skills.versions.list(skill.id, { limit: 1 })) versions.push(one.id);
    assert.equal(versions.length, 2);
    assert.ok(versions.includes(version.id));
    assert.equal((await client.skills.retrieve(skill.id)).id, skill.id);
    const retrieved = await client.skills.versions.retrieve(version.id, { skill_id: skill.id });
    assert.equal(retrieved.description, 'Greets all people.');
    const archive = await client.beta.skills.versions.download(version.id, { skill_id: skill.id });
    assert.equal(Buffer.from(await archive.arrayBuffer()).subarray(0, 2).toString(), 'PK');

    const listed = [];
    for await (const one of client.skills.list({ limit: 2 })) listed.push(one.id);
    assert.ok(listed.includes(skill.id));
    await client.skills.versions.delete(version.id, { skill_id: skill.id });
    await client.skills.delete(skill.id);
    await assert.rejects(client.skills.retrieve(skill.id), Anthropic.NotFoundError);
  },

  async errors() {
    const status = (name) => client.messages.create({ ...ask('Hello'), model: `sandbox-${name}` }, { maxRetries: 0 });
    await assert.rejects(status('529'), (error) => error.status === 529 && error.error.error.type === 'overloaded_error');
    await assert.rejects(status('429'), Anthropic.RateLimitError);
    await assert.rejects(status('400'), Anthropic.BadRequestError);
    const stranger = new Anthropic({ apiKey: 'sk-gw-wrong', maxRetries: 0 });
    await assert.rejects(stranger.messages.create(ask('Hello')), Anthropic.AuthenticationError);
  },
};

await calls[process.argv[2]]();
