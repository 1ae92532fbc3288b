// @modelcontextprotocol/client, both eras.
import { call, job } from './typescript.mjs';

const { Client, StreamableHTTPClientTransport } = await import(`${job.modules}/@modelcontextprotocol/client/dist/index.mjs`);
const { StdioClientTransport } = await import(`${job.modules}/@modelcontextprotocol/client/dist/stdio.mjs`);
const options = { versionNegotiation: { mode: job.era } };
await call((info) => new Client(info, options), StreamableHTTPClientTransport, StdioClientTransport);
