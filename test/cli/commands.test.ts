import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';

const SECRET = 'not-a-real-secret-cli';
const data = mkdtempSync(join(tmpdir(), 'keyturn-cli-data-'));
let keyturn: RunningKeyturn;
let owner: CommandLine;
let workload: CommandLine;

beforeAll(async () => {
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  owner = new CommandLine({ KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' });
});

afterAll(async () => {
  await keyturn.close();
  rmSync(data, { recursive: true, force: true });
  rmSync(owner.config, { recursive: true, force: true });
});

describe('the command line', () => {
  it('sets an installation up once, keeps the token to itself and removes the bootstrap secret', async () => {
    const first = await owner.run(['init', '--name', 'ada', '--data', data]);
    expect(first).toMatchObject({ code: 0 });
    const config = join(owner.config, 'keyturn', 'config.json');
    expect((statSync(config).mode & 0o777).toString(8)).toBe('600');
    const { tokens } = JSON.parse(readFileSync(config, 'utf8')) as { tokens: Record<string, string> };
    expect(Object.keys(tokens)).toEqual([keyturn.url]);
    const token = tokens[keyturn.url] ?? '';
    expect(token).toMatch(/^kt_usr_/);
    expect(first.stdout + first.stderr).not.toContain(token);
    expect(existsSync(join(data, 'bootstrap-secret'))).toBe(false);
    expect(await owner.run(['init', '--name', 'eve', '--data', data])).toMatchObject({ code: 2 });
  });

  it('makes a tenant, stores a credential from standard input and shows everything but its value', async () => {
    expect(await owner.run(['tenant', 'create', 'acme'])).toMatchObject({ code: 0 });
    const put = await owner.run(['credential', 'put', 'stripe', '--kind', 'api_key', '--label', 'owner=ops'], SECRET);
    expect(put).toMatchObject({ code: 0, stdout: 'stored stripe version 1 in staging\n' });
    const shown = await owner.run(['credential', 'show', 'stripe']);
    const listed = await owner.run(['credential', 'list', '-o', 'json']);
    expect(JSON.parse(listed.stdout)).toMatchObject({ items: [{ name: 'stripe', labels: { owner: 'ops' } }], next_cursor: null });
    for (const { stdout, stderr } of [put, shown, listed]) expect(stdout + stderr).not.toContain(SECRET);
  });

  it('tells a person why they may not read a value, and lets the workload read it', async () => {
    const refused = await owner.run(['credential', 'get', 'stripe']);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain('insufficient_user_authentication');
    expect(refused.stderr).toContain('hint:');
    const made = JSON.parse((await owner.run(['workload', 'create', 'sync', '--pattern', 'str*', '-o', 'json'])).stdout) as {
      client_id: string;
      client_secret: string;
    };
    const file = join(owner.config, 'client-secret');
    writeFileSync(file, `${made.client_secret}\n`, { mode: 0o600 });
    workload = new CommandLine({
      KEYTURN_ADDR: keyturn.url,
      KEYTURN_TENANT: 'acme',
      KEYTURN_ENVIRONMENT: 'staging',
      KEYTURN_CLIENT_ID: made.client_id,
      KEYTURN_CLIENT_SECRET_FILE: file,
    });
    expect(await workload.run(['credential', 'get', 'stripe', '-o', 'raw'])).toMatchObject({ code: 0, stdout: `${SECRET}\n` });
    expect(await workload.run(['whoami', '-o', 'json'])).toMatchObject({ code: 0 });
  });

  it('lets a workload prove itself with its own key', async () => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
    const keys = join(owner.config, 'jwks.json');
    writeFileSync(keys, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'EdDSA', kid: 'k1' }] }));
    const key = join(owner.config, 'key.json');
    writeFileSync(key, JSON.stringify({ ...(await exportJWK(privateKey)), alg: 'EdDSA', kid: 'k1' }), { mode: 0o600 });
    const made = await owner.run(['workload', 'create', 'signer', '--pattern', '*', '--jwks-file', keys, '-o', 'json']);
    const { client_id, client_secret } = JSON.parse(made.stdout) as { client_id: string; client_secret: string | null };
    expect(client_secret).toBeNull();
    const proof = { KEYTURN_CLIENT_ID: client_id, KEYTURN_CLIENT_SECRET_FILE: '', KEYTURN_CLIENT_KEY_FILE: key };
    const signer = new CommandLine({
      KEYTURN_ADDR: keyturn.url,
      KEYTURN_TENANT: 'acme',
      KEYTURN_ENVIRONMENT: 'staging',
      ...proof,
    });
    expect(await signer.run(['credential', 'get', 'stripe', '-o', 'raw'])).toMatchObject({ code: 0, stdout: `${SECRET}\n` });
  });

  it('runs a program with the credential in its environment, hands on its exit code, and keeps its own proof back', async () => {
    const script =
      'process.stdout.write(process.env.KEY + "|" + (process.env.KEYTURN_CLIENT_SECRET_FILE ?? "none")); process.exit(7)';
    const ran = await workload.run(['run', '--env', 'KEY=stripe', '--', process.execPath, '-e', script]);
    expect(ran).toMatchObject({ code: 7, stdout: `${SECRET}|none` });
    expect((await workload.run(['run', '--env', 'KEY=missing', '--', process.execPath, '-e', '0'])).code).toBe(5);
    expect((await workload.run(['run', '--env', 'KEY=stripe', '--', '/no/such/program'])).code).toBe(127);
  });

  it('versions, rolls back, deletes and restores', async () => {
    await owner.run(['credential', 'put', 'stripe', '--kind', 'api_key'], `${SECRET}-2`);
    expect(
      (await owner.run(['credential', 'put', 'stripe', '--kind', 'api_key', '--cas', '1'], 'x-not-a-real-secret')).code,
    ).toBe(6);
    expect((await owner.run(['credential', 'history', 'stripe'])).stdout).toMatch(/2 +current.*\n1 +previous/);
    expect(await owner.run(['credential', 'rollback', 'stripe'])).toMatchObject({ code: 0 });
    expect((await workload.run(['credential', 'get', 'stripe', '-o', 'raw'])).stdout).toBe(`${SECRET}\n`);
    expect(await owner.run(['credential', 'delete', 'stripe'])).toMatchObject({ code: 0 });
    expect((await workload.run(['credential', 'get', 'stripe'])).code).toBe(5);
    expect(await owner.run(['credential', 'restore', 'stripe'])).toMatchObject({ code: 0 });
    expect((await owner.run(['credential', 'rotate', 'stripe'])).stderr).toContain('not_rotatable');
  });

  it('shows the age and the next turn of keys, and rotates those of the home cell and the root key', {
    timeout: 120_000,
  }, async () => {
    type Keys = { keys: { purpose: string; version: number; turns_at: string | null; state: string }[] };
    const listed = await owner.run(['keys', 'list', '-o', 'json']);
    const active = (JSON.parse(listed.stdout) as Keys).keys.filter((key) => key.state === 'active');
    expect(active.filter((key) => key.turns_at === null).map((key) => key.purpose)).toEqual(['audit_sign']);
    expect((await owner.run(['keys', 'list', 'home'])).stdout).toMatch(/audit_pii +1 +active/);
    expect(await owner.run(['keys', 'rotate', 'home', '--purpose', 'audit_pii', '--wait'])).toMatchObject({ code: 0 });
    expect((await owner.run(['keys', 'list', 'home'])).stdout).toMatch(/audit_pii +2 +active/);
    expect(await owner.run(['keys', 'doctor'])).toMatchObject({ code: 0 });
    expect(await workload.run(['keys', 'rotate', 'root'])).toMatchObject({ code: 3 });
    expect(await owner.run(['keys', 'rotate', 'root', '--purpose', 'backup'])).toMatchObject({ code: 2 });
    const before = readFileSync(join(data, 'root.key'), 'utf8');
    const turned = await owner.run(['keys', 'rotate', 'root', '--wait', '-o', 'json']);
    expect([turned.code, JSON.parse(turned.stdout)]).toMatchObject([
      0,
      { provider: 'keyfile', rotating_since: null, blocked: [] },
    ]);
    expect(readFileSync(join(data, 'root.key'), 'utf8')).not.toBe(before);
    expect(readFileSync(join(data, 'root.key.previous'), 'utf8')).toBe(before);
    const checked = await owner.run(['keys', 'doctor', 'home']);
    expect(checked).toMatchObject({ code: 0 });
    expect(checked.stdout).toContain('no rotation is under way');
    expect((await owner.run(['doctor', '--data', data])).stdout).toContain('root.key.previous is the root key before');
    expect(await owner.run(['keys', 'rotate', 'root'])).toMatchObject({ code: 6 });
  });

  it('rotates the keys while one waits, and verifies the log live and from a file', async () => {
    const rotated = await owner.run(['keys', 'rotate', '--wait', '-o', 'json']);
    expect(rotated.code).toBe(0);
    const { rotations } = JSON.parse(rotated.stdout) as {
      rotations: { finished_at: string | null; done: number; total: number }[];
    };
    expect(rotations).toHaveLength(6);
    expect(rotations.every((rotation) => rotation.finished_at !== null && rotation.done === rotation.total)).toBe(true);
    expect(await owner.run(['audit', 'verify'])).toMatchObject({ code: 0 });
    const file = join(owner.config, 'export.jsonl');
    writeFileSync(file, (await owner.run(['audit', 'export'])).stdout);
    expect(await owner.run(['audit', 'verify', file], '', { KEYTURN_ADDR: 'http://127.0.0.1:9' })).toMatchObject({ code: 0 });
    writeFileSync(file, readFileSync(file, 'utf8').replace('"outcome":"denied"', '"outcome":"success"'));
    const found = await owner.run(['audit', 'verify', file]);
    expect(found.code).toBe(8);
    expect(found.stdout).toMatch(/edited: event \d+ differs from the logged event/);
  });

  it('says which events a signed head covers, and exits with 8 unless that is all that was asked for', async () => {
    const file = join(owner.config, 'export.jsonl');
    const { stdout } = await owner.run(['audit', 'export']);
    const verify = async (text: string, ...options: string[]) => {
      writeFileSync(file, text);
      return owner.run(['audit', 'verify', file, ...options]);
    };
    const whole = await verify(stdout);
    expect(whole.stdout).toMatch(/the log is complete/);
    expect(whole.stdout).toMatch(/verifier key +taken from the export/);
    const key = (await owner.run(['audit', 'key'])).stdout.trim();
    expect((await verify(stdout, '--key', key)).stdout).toMatch(/verifier key +given by --key/);
    const events = stdout
      .split('\n')
      .filter((line) => !/^{"export":"(leaves|checkpoint|end)"/.test(line))
      .join('\n');
    const bare = await verify(events.replaceAll('"outcome":"denied"', '"outcome":"success"'));
    expect(bare.code).toBe(8);
    expect(bare.stdout).toMatch(/covered +nothing/);
    expect(bare.stdout).toMatch(/not covered 0\.\.\d+: there is no valid signed head/);
    const part = (await owner.run(['audit', 'export', '--range', '2..4'])).stdout;
    expect(await verify(part)).toMatchObject({ code: 8 });
    expect(await verify(part, '--range', '2..4')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/covered +2\.\.4/),
    });
    expect(await verify(part, '--range', '2..5')).toMatchObject({ code: 8 });
    expect(await verify(part, '--range', '5')).toMatchObject({ code: 2 });
    expect(await owner.run(['audit', 'verify', '--range', '2..4'])).toMatchObject({ code: 0 });
  });

  it('lists what a person or a workload did, by name, and what happened in an environment', async () => {
    type Listed = { items: { actor: { id: string; type: string }; target: { environment?: string } }[] };
    const listed = async (...options: string[]) =>
      (JSON.parse((await owner.run(['audit', 'list', '--limit', '1000', ...options, '-o', 'json'])).stdout) as Listed).items;
    await owner.run(['credential', 'put', 'elsewhere', '--kind', 'api_key', '--env', 'production'], SECRET);
    const all = await listed();
    for (const [name, type] of [
      ['ada', 'user'],
      ['sync', 'workload'],
    ] as const) {
      const some = await listed('--actor', name);
      expect(some.length, name).toBeGreaterThan(0);
      expect(some.length, name).toBeLessThan(all.length);
      expect(new Set(some.map(({ actor }) => actor.id)).size, name).toBe(1);
      expect(new Set(some.map(({ actor }) => actor.type)), name).toEqual(new Set([type]));
    }
    const there = await listed('--env', 'production');
    expect(there.length).toBeGreaterThan(0);
    expect(new Set(there.map(({ target }) => target.environment))).toEqual(new Set(['production']));
    expect(await owner.run(['alerts', '--env', 'production'])).toMatchObject({ code: 2 });
    const { stdout } = await owner.run(['audit', 'list', '--help']);
    for (const word of ['denied', 'failure', 'at or after', 'before this instant']) expect(stdout).toContain(word);
  });

  it('never takes a secret from its arguments, and says why', async () => {
    for (const flag of ['--password=x', '--token', '--client-secret', '--value=x']) {
      const refused = await owner.run(['credential', 'put', 'x', '--kind', 'api_key', flag]);
      expect(refused.code, flag).toBe(2);
      expect(refused.stderr).toContain('command line');
    }
  });

  it('does not believe an address or a token from the folder it stands in', async () => {
    const lone = new CommandLine();
    writeFileSync(join(lone.config, '.keyturn.json'), JSON.stringify({ address: 'http://127.0.0.1:9', token: 'x' }));
    const answer = await lone.run(['status', '--address', keyturn.url]);
    expect(answer.code).toBe(0);
    expect((await lone.run(['status'], '', { KEYTURN_ADDR: 'http://vault.example.com' })).stderr).toContain('plain http');
  });

  it.each([
    [['nonsense'], 2],
    [['credential', 'put', 'x'], 2],
    [['credential', 'show', 'missing'], 5],
    [['credential', 'show', 'stripe', '--token-file', '/dev/null'], 3],
    [['status', '--address', 'http://127.0.0.1:9'], 7],
    [['--help'], 0],
    [['doctor', '--data', '/nonexistent'], 0],
  ])('ends %j with %i', async (args, code) => {
    expect((await owner.run(args as string[], '', { KEYTURN_MAX_RETRIES: '0' })).code).toBe(code);
  });

  it('completes in zsh and fish', async () => {
    expect((await owner.run(['completion', 'fish'])).stdout).toContain('__fish_seen_subcommand_from audit');
    expect((await owner.run(['completion', 'zsh'])).stdout).toContain('#compdef keyturn');
  });

  it('completes in bash', async ({ skip }) => {
    if (spawnSync('bash', ['-c', 'true']).status !== 0) {
      console.warn('SKIPPED the completion in bash: it is not on this machine');
      skip();
    }
    const bash = (await owner.run(['completion', 'bash'])).stdout;
    execFileSync('bash', ['-n'], { input: bash });
    const words = execFileSync(
      'bash',
      ['-c', `${bash}\nCOMP_WORDS=(keyturn credential ro); COMP_CWORD=2; _keyturn; echo "\${COMPREPLY[@]}"`],
      { encoding: 'utf8' },
    );
    expect(words.trim().split(' ').sort()).toEqual(['rollback', 'rotate']);
  });
});
