// The receiver that docs/webhooks.md shows takes what the vault really delivers, and nothing else; the kinds listed there are all there are.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALERT_KINDS } from '../../src/alerts/raise-alert.ts';
import { startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/webhooks.md'), 'utf8');
const scratch = mkdtempSync(join(tmpdir(), 'keyturn-webhooks-'));

it('lists exactly the kinds of alert there are', () => {
  const listed = page.slice(0, page.indexOf('```')).match(/`(?:clock|credential|state)\.[a-z_]+`/g) ?? [];
  expect(listed.map((kind) => kind.slice(1, -1)).sort()).toEqual([...ALERT_KINDS].sort());
});

describe('a real delivery', () => {
  type Verify = (secret: string, headers: IncomingHttpHeaders, body: Buffer, nowMs?: number) => { kind: string };
  const received: { headers: IncomingHttpHeaders; body: Buffer }[] = [];
  let arrive = () => {};
  const arrived = new Promise<void>((done) => {
    arrive = done;
  });
  const receiver = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(parts) });
      response.writeHead(204).end();
      arrive();
    });
  });
  let verify: Verify;
  let secret: string;
  let other: string;

  beforeAll(async () => {
    const file = join(scratch, 'receiver.mjs');
    writeFileSync(file, /```js\n(.*?)```/s.exec(page)?.[1] ?? '');
    ({ verify } = (await import(/* @vite-ignore */ file)) as { verify: Verify });
    await new Promise<void>((ready) => receiver.listen(0, '127.0.0.1', ready));
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
    const data = join(scratch, 'data');
    const keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
    const owner = new CommandLine({ KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'demo', KEYTURN_ENVIRONMENT: 'staging' });
    try {
      await owner.run(['init', '--name', 'ada', '--data', data]);
      await owner.run(['tenant', 'create', 'demo']);
      secret = (await owner.run(['webhooks', 'add', url])).stdout.trim();
      other = (await owner.run(['webhooks', 'add', `${url}/other`, '--kind', 'credential.exposed'])).stdout.trim();
      const pair = 'refresh-not-a-real-secret\nclient-not-a-real-secret\n';
      const made = await owner.run(['import', 'hubspot', '--from', 'nango', '--client-id', 'made-up'], pair);
      expect(made).toMatchObject({ code: 0 });
      expect(await owner.run(['disconnect', 'hubspot', '--keep-at-provider'])).toMatchObject({ code: 0 });
      await arrived;
    } finally {
      await keyturn.close();
      rmSync(owner.config, { recursive: true, force: true });
    }
  }, 30_000);

  afterAll(() => {
    receiver.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('is taken', () => {
    for (const { headers, body } of received) expect(ALERT_KINDS).toContain(verify(secret, headers, body).kind);
  });

  it('is refused with a changed body, when it is stale, and with the secret of another webhook', () => {
    const { headers = {}, body = Buffer.alloc(0) } = received[0] ?? {};
    const sentMs = Number(headers['webhook-timestamp']) * 1_000;
    expect(() => verify(secret, headers, Buffer.from(body.toString().replace('hubspot', 'hubsp0t')))).toThrow('not genuine');
    expect(() => verify(secret, headers, body, sentMs + 301_000)).toThrow('too old');
    expect(other).toMatch(/^whsec_/);
    expect(() => verify(other, headers, body)).toThrow('not genuine');
  });
});
