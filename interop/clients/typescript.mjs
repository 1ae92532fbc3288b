// What the two TypeScript SDKs have in common. Takes the job as a file; prints a line of JSON for each call.
import { readFileSync } from 'node:fs';

export const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));

export async function call(newClient, Http, Stdio) {
  const connect = async (headers) => {
    const client = newClient({ name: 'interop', version: '1' });
    const [command, ...args] = job.command ?? [];
    const transport = job.url
      ? new Http(new URL(job.url), { requestInit: { headers } })
      : new Stdio({ command, args, stderr: 'ignore' });
    await client.connect(transport);
    return client;
  };
  // over HTTP a connection for each call, since headers belong to a connection; over stdio one for all
  let client;
  for (const { name, tool, arguments: args, credential } of job.cases) {
    client ??= await connect(credential === 'header' ? { 'X-Capiscio-Badge': job.badge } : {});
    const meta = credential === 'meta' ? { _meta: { capiscio_caller_badge: job.badge } } : {};
    const result = await client.callTool({ name: tool, arguments: args, ...meta });
    const text = result.content.map((content) => content.text ?? '').join('');
    console.log(JSON.stringify({ name, isError: result.isError === true, text, meta: result._meta }));
    if (job.url) {
      await client.close();
      client = undefined;
    }
  }
  await client?.close();
}
