// Compares what the suite found of the guarded servers, or of the verified client, with what it found of the bare one, check
// by check. Arguments: the results (WHO/RUN/SCENARIO-TIME/checks.json, for a server after `server-`), a name for each run.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [results, ...runs] = process.argv.slice(2);
const expected = JSON.parse(readFileSync(new URL('differences.json', import.meta.url), 'utf8'));

/** scenario -> its checks in order, each as `id status`; a scenario that broke off has none. */
function read(server, run) {
  const scenarios = new Map();
  const directory = join(results, server, String(run));
  for (const name of readdirSync(directory).sort()) {
    // those of OAuth, which are about other things
    if (name === 'auth') continue;
    const scenario = name.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, '');
    const file = join(directory, name, 'checks.json');
    scenarios.set(scenario, existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined);
  }
  return scenarios;
}

/** id, occurrence -> status; an id can come several times in a scenario. */
function statuses(checks) {
  const found = new Map();
  for (const { id, status } of checks ?? [{ id: '(broke off)', status: 'FAILURE' }]) {
    for (let i = 1; ; i++) {
      const key = i === 1 ? id : `${id} #${i}`;
      if (!found.has(key)) {
        found.set(key, status);
        break;
      }
    }
  }
  return found;
}

let unexpected = 0;
const others = readdirSync(results).filter((name) => name !== 'bare').sort();
const unused = new Set(others.flatMap((who) => Object.keys(expected[who] ?? {}).map((scenario) => `${who} ${scenario}`)));
for (const server of others) {
  let compared = 0;
  for (const [run, title] of runs.entries()) {
    const bare = read('bare', run);
    const guarded = read(server, run);
    for (const scenario of new Set([...bare.keys(), ...guarded.keys()])) {
      const left = bare.has(scenario) ? statuses(bare.get(scenario)) : new Map();
      const right = guarded.has(scenario) ? statuses(guarded.get(scenario)) : new Map();
      for (const check of new Set([...left.keys(), ...right.keys()])) {
        compared += 1;
        if (left.get(check) === right.get(check)) continue;
        if (expected[server]?.[scenario]) {
          unused.delete(`${server} ${scenario}`);
          continue;
        }
        unexpected += 1;
        const why = (guarded.get(scenario) ?? []).find(({ id }) => id === check)?.errorMessage ?? '';
        console.log(`DIFFERENT: ${server}, ${title}, ${scenario}, ${check}: ` +
          `bare ${left.get(check) ?? 'absent'}, ${server} ${right.get(check) ?? 'absent'} ${why}`);
      }
    }
  }
  console.log(`${server}: ${compared} checks compared with the bare one's`);
  for (const [scenario, reason] of Object.entries(expected[server] ?? {})) {
    console.log(`  differs, as it should: ${scenario}: ${reason}`);
  }
}
for (const entry of unused) {
  unexpected += 1;
  console.log(`differences.json: ${entry} does not differ any more`);
}

// What the bare one fails is rmcp's, or the program's, and not this crate's.
for (const [run, title] of runs.entries()) {
  const count = {};
  const failed = [];
  for (const [scenario, checks] of read('bare', run)) {
    for (const [id, status] of statuses(checks)) {
      count[status] = (count[status] ?? 0) + 1;
      if (status === 'FAILURE') failed.push(`${scenario} (${id})`);
    }
  }
  if (!count.SUCCESS) {
    unexpected += 1;
    console.log(`bare, ${title}: nothing passed, so nothing was compared`);
  }
  const counts = Object.entries(count).map(([status, n]) => `${n} ${status}`).join(', ');
  console.log(`bare, ${title}: ${counts}${failed.length > 0 ? `; failed: ${failed.join(', ')}` : ''}`);
}
if (unexpected > 0) {
  console.error(`FAILED: ${unexpected} differences that should not be`);
  process.exit(1);
}
