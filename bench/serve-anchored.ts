// One tenant's cell of the checkout it is given, over a database in memory or in a file, without HTTP; times one case at a time.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TenantJob } from '../src/vault/tenant-job.ts';
import { answerWith, givenInput } from './child.ts';

const KEYS = 400;
const WARM_KEYS = 50;
const { tree, inFile } = givenInput<{ tree: string; inFile: boolean }>();

const from = <T>(file: string): Promise<T> => import(pathToFileURL(join(tree, file)).href) as Promise<T>;
const { readCredential } = await from<typeof import('../src/vault/read-credential.ts')>('src/vault/read-credential.ts');
const { putCredential } = await from<typeof import('../src/vault/put-credential.ts')>('src/vault/put-credential.ts');
const { openNodeSql } = await from<typeof import('../src/node/sqlite.ts')>('src/node/sqlite.ts');
const { inside, putKey, testTenant, workloadToken } = await from<typeof import('../test/kit/vaults.ts')>('test/kit/vaults.ts');

const own = mkdtempSync(join(tmpdir(), 'keyturn-bench-'));
const tenant = await testTenant({ sql: openNodeSql(inFile ? join(own, 'cell.db') : ':memory:') });
const { vault } = tenant;
// A checkout from before jobs were handed their job has no `inside`, and its vault is the job.
const job = ((inside as typeof inside | undefined)?.(vault) ?? vault) as TenantJob;
for (let i = 0; i < KEYS; i++) await putKey(tenant, `key-${i}`, 'not-a-real-secret');
const { text } = await workloadToken(tenant);

function read(i: number) {
  const input = { environment: 'staging', name: `key-${i}`, version: undefined, stage: undefined };
  return vault.submit(() => readCredential(job, tenant.token(text), input));
}

function coldRead(i: number) {
  job.cache.clear();
  job.authenticator.forget();
  return read(i);
}

// One user all the time, as in the service: a new one each time would have every policy evaluated anew.
const admin = tenant.user(['admin'], 'everywhere');
const value = { key: 'not-a-real-secret' };
function put(i: number) {
  const what = { environment: 'staging', name: `key-${i}`, kind: 'api_key', value, precondition: {} } as const;
  const unset = { connector: undefined, config: undefined, labels: undefined, description: undefined, expiresAtMs: undefined };
  return vault.submit(() => putCredential(job, { ...admin, request: `req_${i}` }, { ...what, ...unset }));
}

interface Case {
  /** The version of each key was read before: the first read of a version by a workload also stores that. */
  readonly isReadBefore?: boolean;
  readonly calls: number;
  /** How many share a commit. */
  readonly together: number;
  readonly keys: number;
  one(key: number): Promise<unknown>;
}

const CASES: Readonly<Record<string, Case>> = {
  'first read of a version': { calls: 400, together: 1, keys: KEYS, one: coldRead },
  'cold read': { isReadBefore: true, calls: 400, together: 1, keys: KEYS, one: coldRead },
  'cold read, 64 together': { isReadBefore: true, calls: 960, together: 64, keys: KEYS, one: coldRead },
  'warm read, 64 together': { isReadBefore: true, calls: 6_400, together: 64, keys: WARM_KEYS, one: read },
  'lone write': { calls: 300, together: 1, keys: KEYS, one: put },
  'write, 16 together': { calls: 640, together: 16, keys: KEYS, one: put },
  'write, 64 together': { calls: 960, together: 64, keys: KEYS, one: put },
};

/** Microseconds of CPU a call, all threads of this process. */
async function time({ name }: { name: string }): Promise<number> {
  const { calls, together, keys, one, isReadBefore } = CASES[name] as Case;
  if (isReadBefore === true) await Promise.all(Array.from({ length: keys }, (_, i) => read(i)));
  const start = process.cpuUsage();
  for (let done = 0; done < calls; done += together)
    await Promise.all(Array.from({ length: together }, (_, i) => one((done + i) % keys)));
  const { user, system } = process.cpuUsage(start);
  return (user + system) / calls;
}

answerWith({ hello: () => ({ cases: Object.keys(CASES) }), time }, () => {
  vault.close();
  rmSync(own, { recursive: true, force: true });
});
