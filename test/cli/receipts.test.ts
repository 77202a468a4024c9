// The command line over readers and receipts of a rotation, against a real service and a provider of keys on this machine.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';

const data = mkdtempSync(join(tmpdir(), 'keyturn-cli-receipts-'));
let keyturn: RunningKeyturn;
let owner: CommandLine;
let provider: Server;

/** Keys by id, as SendGrid has them: a text that a caller presents, with full access. */
const keys = new Map([['first', 'SG.first.made-up']]);

/** @returns status and body of one call of the management API of keys */
function answerTo(method: string, path: string, authorization: string): [number, object] {
  if (![...keys.values()].some((key) => authorization === `Bearer ${key}`)) return [401, { errors: [] }];
  if (path.endsWith('/v3/scopes')) return [200, { scopes: ['mail.send'] }];
  const id = path.split('/').at(-1) ?? '';
  if (method === 'DELETE') return [keys.delete(id) ? 204 : 404, {}];
  if (method === 'POST') {
    const made = `made-${keys.size}`;
    keys.set(made, `SG.${made}.made-up`);
    return [201, { api_key: `SG.${made}.made-up`, api_key_id: made }];
  }
  if (path.includes('/v3/api_keys?')) return [200, { result: [...keys.keys()].map((one) => ({ api_key_id: one, name: one })) }];
  return [200, { result: [{ scopes: ['mail.send'] }] }];
}

beforeAll(async () => {
  provider = createServer((request, response) => {
    request.resume().on('end', () => {
      const [status, body] = answerTo(request.method ?? '', request.url ?? '', request.headers.authorization ?? '');
      response.writeHead(status, { 'content-type': 'application/json' }).end(status === 204 ? undefined : JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  owner = new CommandLine({ KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' });
  await owner.run(['init', '--name', 'ada', '--data', data]);
  await owner.run(['tenant', 'create', 'acme']);
  const at = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  writeFileSync(join(data, 'settings.json'), JSON.stringify({ sandbox: at }));
  const put = ['credential', 'put', 'mail', '--kind', 'api_key', '--json-value', '--connector', 'sendgrid-api-key'];
  const value = JSON.stringify({ key: 'SG.first.made-up', key_id: 'first' });
  const stored = await owner.run(
    [...put, '--config-file', join(data, 'settings.json'), '--grace', '0s', '--deadline', '0s'],
    value,
  );
  expect(stored, stored.stderr).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await keyturn.close();
  provider.close();
  rmSync(data, { recursive: true, force: true });
  rmSync(owner.config, { recursive: true, force: true });
});

describe('the command line over a rotation', () => {
  it('says that nobody has read, and that there is no receipt yet', async () => {
    expect(await owner.run(['credential', 'readers', 'mail'])).toMatchObject({ code: 0, stdout: 'nobody has read it\n' });
    const none = await owner.run(['receipt', 'show', 'mail']);
    expect(none).toMatchObject({ code: 5 });
    expect(none.stderr).toContain('no rotation of this credential has a receipt yet');
  });

  it('shows the receipt once the old value is dead, with the statuses of the provider, and checks it without the service', async () => {
    const rotated = await owner.run(['credential', 'rotate', 'mail', '--wait', '--timeout', '10s']);
    expect(rotated, rotated.stdout + rotated.stderr).toMatchObject({ code: 0 });
    let shown = await owner.run(['receipt', 'show', 'mail']);
    for (let tries = 0; tries < 6 && shown.code !== 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      shown = await owner.run(['receipt', 'show', 'mail']);
    }
    expect(shown.stdout).toMatch(/new version +2: works at .*, status 200/);
    expect(shown.stdout).toMatch(/old version +1: refused, proved dead at\s+\S+, status 401/);
    expect(shown.stdout).toContain('taken from the receipt');
    const raw = await owner.run(['receipt', 'show', 'mail', '-o', 'raw']);
    const file = join(data, 'receipt.json');
    writeFileSync(file, raw.stdout);
    const key = (await owner.run(['audit', 'key'])).stdout.trim();
    const offline = new CommandLine({ KEYTURN_ADDR: 'http://127.0.0.1:9' });
    const verified = await offline.run(['receipt', 'verify', file, '--key', key]);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    expect(verified.stdout).toContain('the receipt is what the vault signed');
    const asJson = await offline.run(['receipt', 'verify', file, '--key', key, '-o', 'json']);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      ok: true,
      key: 'pinned',
      statement: { old_value: { provider_status: 401 } },
    });
    writeFileSync(file, raw.stdout.replace('proved_dead', 'proved_daed'));
    const refused = await offline.run(['receipt', 'verify', file, '--key', key]);
    expect(refused).toMatchObject({ code: 8 });
    expect(refused.stdout).toContain('the receipt is refused');
    for (const { stdout } of [shown, raw, verified, refused]) expect(stdout).not.toContain('SG.');
    rmSync(offline.config, { recursive: true, force: true });
  }, 60_000);

  it('rolls back while the provider honours the version before, and says why not', async () => {
    const revoked = await owner.run(['credential', 'rollback', 'mail']);
    expect(revoked).toMatchObject({ code: 6 });
    expect(revoked.stderr).toContain('was revoked, and its target refused it afterwards');
    keys.set('second', 'SG.second.made-up');
    const put = ['credential', 'put', 'post', '--kind', 'api_key', '--json-value', '--connector', 'sendgrid-api-key'];
    const value = JSON.stringify({ key: 'SG.second.made-up', key_id: 'second' });
    await owner.run([...put, '--config-file', join(data, 'settings.json'), '--grace', '1d'], value);
    expect(await owner.run(['credential', 'rotate', 'post', '--wait'])).toMatchObject({ code: 0 });
    const back = await owner.run(['credential', 'rollback', 'post']);
    expect(back, back.stderr).toMatchObject({ code: 0, stdout: 'rolled back post to version 1 (was 2)\n' });
    expect(await owner.run(['credential', 'rotate', 'post', '--wait'])).toMatchObject({ code: 0 });
    keys.delete('second');
    const refused = await owner.run(['credential', 'rollback', 'post']);
    expect(refused).toMatchObject({ code: 6 });
    expect(refused.stderr).toContain('the target refuses this version');
    expect((await owner.run(['credential', 'show', 'post'])).stdout).toMatch(/version +3\n/);
  }, 60_000);
});
