// What anchored state costs: CPU of one cell over a database in memory, without HTTP and without a disk. Prints microseconds a call as JSON;
// run it on two checkouts in turns to compare them: node bench/anchored-state.ts
import { readCredential } from '../src/vault/read-credential.ts';
import { inside, putKey, testTenant, workloadToken } from '../test/kit/vaults.ts';

const KEYS = 400;
const tenant = await testTenant();
const { vault } = tenant;
for (let i = 0; i < KEYS; i++) await putKey(tenant, `key-${i}`, 'not-a-real-secret');
const { text } = await workloadToken(tenant);

function read(i: number) {
  const input = { environment: 'staging', name: `key-${i % KEYS}`, version: undefined, stage: undefined };
  return vault.submit((job) => readCredential(job, tenant.token(text), input));
}

async function cpuOf(calls: number, work: () => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / calls;
}

const inTurn = async (count: number, one: (i: number) => Promise<unknown>) => {
  for (let i = 0; i < count; i++) await one(i);
};
const together = async (rounds: number, size: number, one: (i: number) => Promise<unknown>) => {
  for (let round = 0; round < rounds; round++) await Promise.all(Array.from({ length: size }, (_, i) => one(round * size + i)));
};
const cold = (i: number) => {
  inside(vault).cache.clear();
  inside(vault).authenticator.forget();
  return read(i);
};
const put = (i: number) => putKey(tenant, `key-${i % KEYS}`, 'not-a-real-secret');

const CASES: Readonly<Record<string, () => Promise<number>>> = {
  coldRead: () => cpuOf(2_000, () => inTurn(2_000, cold)),
  warmRead: () => cpuOf(12_800, () => together(200, 64, (i) => read(i % 50))),
  loneWrite: () => cpuOf(600, () => inTurn(600, put)),
  batchedWrite: () => cpuOf(1_280, () => together(20, 64, put)),
};

const figures: Record<string, number[]> = {};
for (let round = 0; round < 5; round++) {
  for (const [name, run] of Object.entries(CASES)) figures[name] = [...(figures[name] ?? []), await run()];
}
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
console.log(
  JSON.stringify(
    Object.fromEntries(Object.entries(figures).map(([name, values]) => [name, Math.round(median(values) * 10) / 10])),
  ),
);
process.exit(0);
