// The connector of AWS access keys against moto, a server that plays AWS (PyPI moto[server]): real XML, a real cap, real refusals.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KeyConnector, Rotator, StoredValue, Target } from '../../rotation/connector.ts';
import { connector } from '../../rotation/connectors/aws-iam-access-key.ts';
import { declaredRotator } from '../../rotation/keys/declared.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { realClock } from './kit.ts';

const MOTO = process.env['KEYTURN_MOTO_SERVER'] ?? 'moto_server';
const isThere = spawnSync(MOTO, ['--help'], { stdio: 'ignore' }).status === 0;
if (!isThere)
  console.warn('SKIPPED: no moto_server (pip install "moto[server]", KEYTURN_MOTO_SERVER=path), so AWS was not played');

const STARTS_WITHIN_MS = 60_000;
const USER = 'robot';
/** Accepted by moto until its own authentication is switched on. */
const ROOT: StoredValue = { key_id: 'AKIAMADEUPMADEUPMADE', key: 'not-a-real-secret' };

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

// Skipped where moto_server is absent, which is told above with console.warn.
describe.skipIf(!isThere)('the access key of an IAM user', () => {
  let moto: ChildProcess;
  let host = '';
  /** The calls of the connector at the server that plays AWS: a signature covers the host. */
  let rotator: Rotator;
  const target = (old: StoredValue, admin: StoredValue = ROOT): Target => ({
    parameters: { user_name: USER },
    old,
    admin,
    name: 'keyturn-run_0123456789abcdefghjkmnpq',
    egress: createNodeEgress({ clock: realClock }),
    allowedHosts: [host],
    allowLoopback: true,
    clock: realClock,
    entropy: { bytes: (count) => new Uint8Array(count), fraction: () => 0.5 },
  });

  /** Setting up, not the subject: moto accepts any signature until authentication is switched on. */
  async function iam(fields: Record<string, string>): Promise<string> {
    const answer = await fetch(`http://${host}/`, {
      method: 'POST',
      headers: {
        authorization:
          'AWS4-HMAC-SHA256 Credential=AKIAMADEUP/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0',
      },
      body: new URLSearchParams({ Version: '2010-05-08', UserName: USER, ...fields }),
    });
    return answer.text();
  }

  beforeAll(async () => {
    const port = await freePort();
    host = `127.0.0.1:${port}`;
    const moved = JSON.stringify(connector).replaceAll(/https:\/\/\w+\.amazonaws\.com/g, `http://${host}`);
    rotator = declaredRotator(JSON.parse(moved) as KeyConnector);
    moto = spawn(MOTO, ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    for (const until = Date.now() + STARTS_WITHIN_MS; Date.now() < until; ) {
      if (
        await fetch(`http://${host}/moto-api/data.json`).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(await iam({ Action: 'CreateUser' })).toContain('<CreateUserResult>');
  }, STARTS_WITHIN_MS);

  afterAll(async () => {
    const exit = new Promise((done) => moto.once('exit', done));
    moto.kill('SIGTERM');
    await exit;
  });

  async function firstKey(): Promise<StoredValue> {
    const made = await iam({ Action: 'CreateAccessKey' });
    const text = (name: string) => new RegExp(`<${name}>([^<]+)</${name}>`).exec(made)?.[1] ?? '';
    return { key_id: text('AccessKeyId'), key: text('SecretAccessKey') };
  }

  it('is replaced, capped, revoked twice and gone', async () => {
    const old = await firstKey();
    expect(await rotator.check?.(target(old))).toEqual({ kind: 'done' });
    const made = await rotator.create(target(old), false);
    if (made.kind !== 'done') throw new Error(`create ended with ${JSON.stringify(made)}`);
    expect(made.value['key_id']).toMatch(/^AKIA/);
    expect(made.value['key_id']).not.toBe(old['key_id']);
    expect(String(made.value['key'])).toHaveLength(40);
    expect(await rotator.test(target(old), made.value)).toBe('works');

    expect(await rotator.check?.(target(old))).toMatchObject({ kind: 'refused', cause: 'key_cap_reached' });
    const third = await rotator.create(target(old), false);
    expect(third).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'key_cap_reached' });
    expect(JSON.stringify(third)).not.toContain(String(old['key']));

    for (let times = 0; times < 2; times++) expect(await rotator.revoke?.(target(old), old)).toEqual({ kind: 'done' });
    expect(await rotator.check?.(target(made.value))).toEqual({ kind: 'done' });
  });

  it('of a user that does not exist is refused as configuration', async () => {
    const old = { key_id: 'AKIAMADEUP0000000000', key: 'not-a-real-secret' };
    const nobody = { ...target(old), parameters: { user_name: 'nobody' } };
    expect(await rotator.check?.(nobody)).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'http_404' });
    expect(await rotator.create(nobody, false)).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'http_404' });
  });

  it('is authenticated by its signature, and rejected when it is unknown or wrong', async () => {
    // Keys of a user with all rights; then moto verifies every signature.
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] });
    await iam({ Action: 'PutUserPolicy', PolicyName: 'all', PolicyDocument: policy });
    await iam({ Action: 'CreateUser', UserName: 'self' });
    await iam({ Action: 'PutUserPolicy', UserName: 'self', PolicyName: 'all', PolicyDocument: policy });
    const made = await iam({ Action: 'CreateAccessKey', UserName: 'self' });
    const text = (name: string) => new RegExp(`<${name}>([^<]+)</${name}>`).exec(made)?.[1] ?? '';
    const own = { key_id: text('AccessKeyId'), key: text('SecretAccessKey') };
    await fetch(`http://${host}/moto-api/reset-auth`, { method: 'POST', body: '0' });

    const self: Target = { ...target(own, own), parameters: { user_name: 'self' } };
    expect(await rotator.test(self, own)).toBe('works');
    expect(await rotator.test(self, { ...own, key: 'a-wrong-secret' })).toBe('rejected');
    expect(await rotator.test(self, { ...own, key_id: 'AKIAUNKNOWN000000000' })).toBe('rejected');
    const next = await rotator.create(self, false);
    if (next.kind !== 'done') throw new Error(`create ended with ${JSON.stringify(next)}`);
    expect(await rotator.test(self, next.value)).toBe('works');
    for (let times = 0; times < 2; times++)
      expect(await rotator.revoke?.({ ...self, admin: next.value }, own)).toEqual({ kind: 'done' });
    expect(await rotator.test(self, own)).toBe('rejected');
    // The last key ends itself, and cannot do so twice.
    const last: Target = { ...self, old: next.value, admin: next.value };
    for (let times = 0; times < 2; times++) expect(await rotator.revoke?.(last, next.value)).toEqual({ kind: 'done' });
    expect(await rotator.test(last, next.value)).toBe('rejected');
  });
});
