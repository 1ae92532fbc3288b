// Has each client make the same calls of the guarded filesystem server, over HTTP and stdio. Judges what the client was
// told, and compares it with what is on record. Arguments: the built programs, the world that the demo left, node_modules,
// the callers, NAME=PYTHON...
import { execFile, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const [programs, world, modules, callers, ...pythons] = process.argv.slice(2);
const here = import.meta.dirname;
const run = promisify(execFile);
// the Inspector keeps state in its user's home, and Python would keep a cache beside its modules
const env = { ...process.env, HOME: world, PYTHONDONTWRITEBYTECODE: '1' };
const python = Object.fromEntries(pythons.map((it) => it.split('=', 2)));
const badge = readFileSync(join(world, 'reader.badge.jws'), 'utf8').trim();
const agent = readFileSync(join(world, 'reader.did'), 'utf8').trim();

/** A tool that is open to everybody, and one for callers from trust level 1 up. */
const CASES = [
  { name: 'anonymous', tool: 'list_directory', arguments: { path: '.' }, credential: 'none' },
  { name: 'denied', tool: 'read_file', arguments: { path: 'hello.txt' }, credential: 'none' },
  { name: 'badge in a header', tool: 'read_file', arguments: { path: 'hello.txt' }, credential: 'header' },
  { name: 'badge in _meta', tool: 'read_file', arguments: { path: 'hello.txt' }, credential: 'meta' },
];

/** How a client starts, and the revision that it then speaks: as before 2026-07-28, or as it finds that a server can. */
const REVISIONS = { legacy: '2025-11-25', auto: '2026-07-28' };

const CLIENTS = {
  // lists the tools first, and calls none that is not in the list that its caller is shown
  inspector: { title: 'Inspector 2.12.0', looksFirst: true, eras: ['legacy', 'auto'], command: [process.execPath, 'inspector.mjs'] },
  typescript_2: { title: 'TypeScript client 2.4.0', eras: ['legacy', 'auto'], command: [process.execPath, 'typescript_2.mjs'] },
  typescript_1: { title: 'TypeScript sdk 1.32.2', eras: ['legacy'], command: [process.execPath, 'typescript_1.mjs'] },
  python_1: { title: 'Python mcp 1.30.0', eras: ['legacy'], command: [python.python_1, 'python_1.py'] },
  python_2: { title: 'Python mcp 2.3.0', eras: ['legacy', 'auto'], command: [python.python_2, 'python_2.py'] },
  fastmcp: { title: 'FastMCP 4.1.0', eras: ['legacy', 'auto'], command: [python.python_2, 'fastmcp_4.py'] },
};

let failures = 0;
function check(condition, what, seen) {
  if (condition) return;
  failures += 1;
  console.log(`FAILED: ${what}: ${JSON.stringify(seen)}`);
}

const DENIAL = /Error executing tool read_file: (\w+): .+ \(evidence_id=([0-9a-f-]{36})\)/;

/** Judges one answer; gives the record that the call must have left, or nothing where no call was made. */
function judge(what, client, era, transport, inSession, { name, tool, credential }, seen) {
  // a session belongs to whom its requests' headers name, so a badge in `_meta` does not count within one (rule S15)
  const open = name === 'anonymous';
  const unbound = inSession && credential === 'meta';
  const reason = open ? undefined : unbound ? 'session_unbound' : credential === 'none' ? 'badge_missing' : undefined;
  if (seen === undefined) {
    check(false, what, 'no answer');
    return undefined;
  }
  if (reason !== undefined && client.looksFirst) {
    check(seen.isError && seen.text.includes('tool_not_found'), `${what}: not shown, so not called`, seen);
    return undefined;
  }
  let id;
  if (reason === undefined) {
    check(!seen.isError && seen.text.includes(open ? 'hello.txt' : 'Hello from below the root.'), what, seen);
  } else {
    const [, told, quoted] = seen.text.match(DENIAL) ?? [];
    check(seen.isError && told === reason && quoted !== undefined, `${what}: a denial that can be read`, seen);
    // FastMCP makes an exception of it, which has no `_meta`
    if ('meta' in seen) {
      const denial = seen.meta?.['rmcp-guard/denial'];
      check(denial?.reason === reason && denial?.evidence_id === quoted, `${what}: the same in _meta`, seen);
    }
    id = quoted;
  }
  const who = credential === 'none' ? 'nobody' : agent;
  return [tool, reason === undefined ? 'ALLOW' : `DENY ${reason} ${id}`, who, REVISIONS[era], transport].join(' ');
}

/** A configuration like the demo's, with a log of its own: a log belongs to one process. */
function config(name) {
  const file = join(world, `${name}.toml`);
  const text = readFileSync(join(world, 'filesystem.toml'), 'utf8');
  writeFileSync(file, text.replace('dir = "evidence"', `dir = "evidence-${name}"`), { mode: 0o600 });
  return file;
}

const server = (transport, name) => [
  join(programs, 'filesystem-server'), transport, '--root', join(world, 'files'), '--config', config(name),
  '--identity-key', join(world, 'server.key.pem'), '--identity-badge', join(world, 'server.badge.jws'),
];

/** Every call must be on record once, in its order; a denial under the id that its caller was given. */
async function audit(title, name, expected) {
  const before = failures;
  const query = ['evidence', 'query', join(world, `evidence-${name}`), '--json', '--no-index'];
  const { stdout } = await run(join(programs, 'rmcp-guard'), query);
  check(!stdout.includes(badge), `${title}: the badge is in no record`, name);
  const records = stdout.trim().split('\n').map((line) => JSON.parse(line).event)
    .filter((event) => event['rmcp_guard.kind'] === 'decision' && event['rmcp_guard.method'] === 'tools/call')
    .map((event) => {
      const allowed = event['capiscio.decision'] === 'ALLOW';
      const decision = allowed ? 'ALLOW' : `DENY ${event['rmcp_guard.deny_reason']} ${event.id}`;
      const who = event['capiscio.agent.did'] || 'nobody';
      const { 'rmcp_guard.protocol_version': revision, 'rmcp_guard.transport': transport } = event;
      return [event['capiscio.target'], decision, who, revision, transport].join(' ');
    });
  for (let i = 0; i < Math.max(expected.length, records.length); i++) {
    check(records[i] === expected[i], `${title}: record ${i}`, { expected: expected[i], records: records[i] });
  }
  if (failures === before) console.log(`${title}: ${records.length} calls, each on record once`);
}

/** What the client was told, by the name of the case. */
async function call(caller, job) {
  const { title, command } = CLIENTS[caller];
  const file = join(world, 'job.json');
  writeFileSync(file, JSON.stringify({ ...job, badge, modules }));
  try {
    const { stdout } = await run(command[0], [join(here, command[1]), file], { env, timeout: 120_000 });
    return Object.fromEntries(stdout.trim().split('\n').map((line) => JSON.parse(line)).map((it) => [it.name, it]));
  } catch (error) {
    check(false, `${title} runs`, `${error.message} ${error.stderr}`);
    return {};
  }
}

/** Starts a server over HTTP. */
async function serve(name, ...options) {
  const [program, ...args] = [...server('http', name), ...options];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, CAPISCIO_LOG_LEVEL: 'warn' } });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.once('exit', () => child.kill());
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      const found = line.match(/listening on (\S+)/);
      if (found) resolve(found[1]);
      else console.log(`${name}: ${line}`);
      check(!line.includes(badge), `${name}: the badge is not in its log`, line.length);
    });
    ended.then((code) => reject(new Error(`the server ended with ${code}`)));
  });
  const stop = () => {
    child.kill();
    return ended;
  };
  return { name, url, stop, sessions: !options.includes('--stateless'), expected: [] };
}

const servers = [await serve('sessions'), await serve('stateless', '--stateless')];
for (const caller of callers.split(' ')) {
  const client = CLIENTS[caller];
  for (const era of client.eras) {
    const title = `${client.title}, ${REVISIONS[era]}`;
    const play = async (where, transport, job, cases, inSession) => {
      const seen = await call(caller, { ...job, era, cases });
      return cases
        .map((it) => judge(`${title}, ${where}, ${it.name}`, client, era, transport, inSession, it, seen[it.name]))
        .filter((record) => record !== undefined);
    };
    for (const it of servers) {
      const records = await play(`HTTP ${it.name}`, 'http', { url: it.url }, CASES, it.sessions && era === 'legacy');
      it.expected.push(...records);
    }
    const name = `${caller}-${era}`;
    const onPipes = CASES.filter(({ credential }) => credential !== 'header');
    const records = await play('stdio', 'stdio', { command: server('stdio', name) }, onPipes, false);
    await audit(`${title}, stdio`, name, records);
  }
}
for (const it of servers) {
  check((await it.stop()) === 0, `HTTP ${it.name} ends as it should`, it.name);
  await audit(`HTTP ${it.name}`, it.name, it.expected);
}
if (failures > 0) {
  console.error(`FAILED: ${failures}`);
  process.exit(1);
}
