// The command line of MCP's Inspector, once for each call. Takes the job as a file; prints a line of JSON for each call.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const run = promisify(execFile);
const inspector = `${job.modules}/@modelcontextprotocol/inspector/clients/launcher/build/index.js`;

for (const { name, tool, arguments: args, credential } of job.cases) {
  const options = ['--protocol-era', job.era, '--method', 'tools/call', '--tool-name', tool];
  for (const [key, value] of Object.entries(args)) options.push('--tool-arg', `${key}=${value}`);
  if (credential === 'header') options.push('--header', `X-Capiscio-Badge: ${job.badge}`);
  // its list of tools must carry the badge too, else it does not find the tool
  if (credential === 'meta') options.push('--metadata', `capiscio_caller_badge=${job.badge}`);
  const target = job.url ? ['--transport', 'http', '--server-url', job.url, ...options] : [...options, '--', ...job.command];
  // a tool's error is an exit code too
  const { stdout, stderr } = await run(process.execPath, [inspector, '--cli', ...target]).catch((error) => error);
  let result;
  try {
    result = JSON.parse(stdout);
  } catch {
    // no result: the Inspector's own error
    console.log(JSON.stringify({ name, isError: true, text: stderr }));
    continue;
  }
  const text = result.content.map((content) => content.text ?? '').join('');
  console.log(JSON.stringify({ name, isError: result.isError === true, text, meta: result._meta }));
}
