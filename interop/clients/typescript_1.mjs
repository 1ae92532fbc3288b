// @modelcontextprotocol/sdk, the SDK of the revisions before 2026-07-28.
import { call, job } from './typescript.mjs';

const sdk = `${job.modules}/@modelcontextprotocol/sdk/dist/esm/client`;
const { Client } = await import(`${sdk}/index.js`);
const { StreamableHTTPClientTransport } = await import(`${sdk}/streamableHttp.js`);
const { StdioClientTransport } = await import(`${sdk}/stdio.js`);
await call((info) => new Client(info), StreamableHTTPClientTransport, StdioClientTransport);
