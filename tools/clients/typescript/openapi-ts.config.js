// OpenAPI 3.0 has no way to say what the events of a stream are, so this file does: the iterator is typed by it.
const stream = (operation) => {
  operation.responses['200'].content['text/event-stream'].schema = { $ref: '#/components/schemas/StreamEvent' };
};

export default {
  input: process.env.SPEC,
  output: { path: process.env.OUTPUT, importFileExtension: '.js' },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  parser: { patch: { operations: { 'POST /api/v1/messages/stream': stream } } },
};
