// AWS KMS as the source of the root key, against the server of moto (PyPI: moto[server]), which KEYTURN_MOTO_SERVER or the PATH names.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RootProvider } from '../../src/node/root-provider.ts';
import { rootSources } from '../../src/node/root-providers.ts';
import { eventually } from '../kit/node-process.ts';
import { rootProviderContract } from './root-provider.contract.ts';

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';
const MOTO = process.env['KEYTURN_MOTO_SERVER'] ?? 'moto_server';

function isThere(): boolean {
  try {
    execFileSync(MOTO, ['--help'], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn(
      `AWS KMS IS NOT TESTED: ${MOTO} cannot be run. Install moto[server] and set KEYTURN_MOTO_SERVER to its moto_server.`,
    );
    return false;
  }
}

const sourceOf = (rootKmsKey: string) => rootSources({ rootKmsKey }, '/nowhere/root.key').given[0] as RootProvider;

describe.skipIf(!isThere())('AWS KMS', () => {
  let server: ChildProcess;
  let client: KMSClient;

  beforeAll(async () => {
    const port = await freePort();
    server = spawn(MOTO, ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    vi.stubEnv('AWS_ENDPOINT_URL', `http://127.0.0.1:${port}`);
    vi.stubEnv('AWS_REGION', 'eu-central-1');
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'not-a-real-id');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-a-real-secret');
    await eventually(async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)) !== undefined, 60_000);
    client = new KMSClient({});
  }, 70_000);

  afterAll(() => {
    vi.unstubAllEnvs();
    server.kill();
  });

  const newKey = async () => (await client.send(new CreateKeyCommand({}))).KeyMetadata?.KeyId ?? '';

  let count = 0;
  rootProviderContract('a key of AWS KMS', () => {
    // The contract makes its place without waiting: the alias is known at once, the key behind it soon.
    const alias = `alias/keyturn-${++count}`;
    let isLost = false;
    const ready = newKey().then((TargetKeyId) => client.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId })));
    const waiting = (name: string): RootProvider => {
      const source = sourceOf(name);
      return {
        name: source.name,
        described: source.described,
        options: source.options,
        first: (id) => ready.then(() => source.first(id)),
        next: (id) => ready.then(() => source.next(id)),
        open: (...given) => ready.then(() => source.open(...given)),
        settle: () => source.settle(),
      };
    };
    return {
      open: () => waiting(isLost ? 'alias/nothing' : alias),
      lose: () => {
        isLost = true;
      },
      remove: () => {},
    };
  });

  it('refuses a wrapped key of another installation, and one under another key', async () => {
    const source = sourceOf(await newKey());
    const { root, descriptor } = await source.first(INSTALLATION);
    const matches = (one: { id: string }) => one.id === root.id;
    await expect(source.open(descriptor, 'ins_another', matches)).rejects.toMatchObject({ code: 'sealed' });
    await expect(sourceOf(await newKey()).open(descriptor, INSTALLATION, matches)).rejects.toMatchObject({ code: 'sealed' });
  });

  it('names why KMS refuses, without its text', async () => {
    const made = sourceOf('alias/nothing').first(INSTALLATION);
    await expect(made).rejects.toMatchObject({
      code: 'sealed',
      message: 'AWS KMS refused the root key or could not be reached (NotFoundException)',
    });
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
