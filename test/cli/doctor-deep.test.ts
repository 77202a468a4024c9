// keyturn doctor --deep as an operator runs it: what it covered, what it found by name, and that it looks at nothing that is served.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANCHORED_TABLES } from '../../src/cell/tables.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';
import { withDatabase } from '../kit/node-process.ts';

const data = mkdtempSync(join(tmpdir(), 'keyturn-cli-deep-'));
const owner = new CommandLine({ KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' });
const doctor = (...more: string[]) => owner.run(['doctor', '--deep', '--data', data, ...more]);
const start = () => startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
let running: RunningKeyturn | undefined;

beforeAll(async () => {
  running = await start();
  const at = ['--address', running.url];
  await owner.run(['init', '--name', 'ada', '--data', data, ...at]);
  await owner.run(['tenant', 'create', 'acme', ...at]);
  for (const name of ['stripe', 'mailer'])
    expect((await owner.run(['credential', 'put', name, '--kind', 'api_key', ...at], 'not-a-real-secret')).code).toBe(0);
});

afterAll(async () => {
  await running?.close();
  for (const directory of [data, owner.config]) rmSync(directory, { recursive: true, force: true });
});

interface Part {
  readonly part: string;
  readonly looked: number;
  readonly failed: number;
}

describe('keyturn doctor --deep', () => {
  it('looks at nothing while a service runs on it, and says to stop it', async () => {
    const refused = await doctor();
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('stop the service first: only one process may open its databases');
    expect((await owner.run(['status', '--address', running?.url ?? ''])).code).toBe(0);
    await running?.close();
    running = undefined;
  });

  it('says of a whole installation what it covered, cell by cell and table by table', async () => {
    const whole = await doctor();
    expect(whole).toMatchObject({ code: 0, stderr: '' });
    const [home = '', homeRows = '', tenant = '', tenantRows = ''] = whole.stdout.split('\n');
    expect([home, tenant].map((line) => line.replaceAll(/ +/g, ' '))).toEqual([
      expect.stringMatching(/^ok home ins_[0-9a-z]{24}$/),
      expect.stringMatching(/^ok acme ten_[0-9a-z]{24}$/),
    ]);
    expect(homeRows).toMatch(/\buser 1\b.*\btenant 1\b|\btenant 1\b.*\buser 1\b/);
    expect(tenantRows).toContain('credential 2');
    expect(tenantRows).toContain('credential_version 2');
    expect(tenantRows).toContain('environment 2');
    const { ok, cells } = JSON.parse((await doctor('-o', 'json')).stdout) as {
      ok: boolean;
      cells: { name: string; parts: Part[] }[];
    };
    expect(ok).toBe(true);
    expect(cells.map(({ name }) => name)).toEqual(['home', 'acme']);
    for (const { name, parts } of cells) {
      const kind = name === 'home' ? 'home' : 'tenant';
      const tables = ANCHORED_TABLES.filter((table) => table.cells.includes(kind)).map(({ table }) => table);
      expect(parts.map(({ part }) => part)).toEqual(expect.arrayContaining([...tables, 'tables', 'log', 'pages']));
      for (const { part, looked, failed } of parts) {
        expect(failed, `${name} ${part}`).toBe(0);
        if (part === 'log' || part === 'tenant_key') expect(looked, `${name} ${part}`).toBeGreaterThan(0);
      }
    }
  });

  it('names the cell, the table and the id of a row that was changed, changes nothing, and ends with 8', async () => {
    const [file = ''] = readdirSync(join(data, 'tenants')).filter((name) => name.endsWith('.db'));
    const id = withDatabase(join(data, 'tenants', file), (database) => {
      database.exec("UPDATE credential SET health = 'degraded' WHERE name = 'stripe'");
      return database.prepare("SELECT id FROM credential WHERE name = 'stripe'").pluck().get() as string;
    });
    for (let turn = 0; turn < 2; turn++) {
      const found = await doctor();
      expect(found.code).toBe(8);
      const lines = found.stdout.split('\n').map((line) => line.trim().replaceAll(/ +/g, ' '));
      expect(lines[0]).toMatch(/^ok home /);
      expect(lines[2]).toMatch(/^fail acme ten_/);
      expect(lines).toContain('credential: 1 failed, 0 missing or unexpected');
      expect(found.stdout).toContain(id);
      expect(found.stdout).not.toContain('mailer');
    }
  });
});
