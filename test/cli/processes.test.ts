import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { writeSelfSigned } from '../kit/certificate.ts';
import { CommandLine } from '../kit/command.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'keyturn-cli-tls-'));
const at = (name: string) => join(folder, name);
let keyturn: RunningKeyturn;
let owner: CommandLine;

beforeAll(async () => {
  // A certificate nobody but us trusts.
  writeSelfSigned(at('key.pem'), at('cert.pem'), 'localhost', ['localhost', '127.0.0.1']);
  const tls = { certPath: at('cert.pem'), keyPath: at('key.pem') };
  keyturn = await startKeyturn({ dataDirectory: at('data'), host: '127.0.0.1', port: 0, tls, log: () => {} });
  owner = new CommandLine({
    KEYTURN_ADDR: keyturn.url,
    KEYTURN_TENANT: 'acme',
    KEYTURN_CACERT: at('cert.pem'),
    KEYTURN_MAX_RETRIES: '0',
  });
  await owner.run(['init', '--data', at('data')]);
  await owner.run(['tenant', 'create', 'acme']);
});

afterAll(async () => {
  await keyturn.close();
  rmSync(folder, { recursive: true, force: true });
  rmSync(owner.config, { recursive: true, force: true });
});

describe('the command line and the world around it', () => {
  it('trusts an authority of one’s own when told to, and no stranger otherwise', async () => {
    expect(await owner.run(['whoami', '-o', 'json'])).toMatchObject({ code: 0, stderr: '' });
    const strange = await owner.run(['whoami'], '', { KEYTURN_CACERT: '' });
    expect(strange).toMatchObject({ code: 7, stdout: '' });
    expect(strange.stderr).toMatch(/unreachable.*\nhint: .*KEYTURN_CACERT/);
    expect((await owner.run(['whoami'], '', { KEYTURN_CACERT: at('key.pem') })).stderr).toContain('KEYTURN_CACERT');
  });

  it('holds a log to what it verified before, and notes nothing that does not verify', async () => {
    const config = join(owner.config, 'keyturn', 'config.json');
    const noted = () => JSON.parse(readFileSync(config, 'utf8')) as { verifier_keys?: object; seen_heads?: object };
    const early = at('early.jsonl');
    writeFileSync(early, (await owner.run(['audit', 'export'])).stdout);
    const key = (await owner.run(['audit', 'key'])).stdout.trim();
    const last = key.at(-2) === 'A' ? 'B' : 'A';
    const forged = `${key.slice(0, -2)}${last}${key.slice(-1)}`;
    expect((await owner.run(['audit', 'verify', '--key', forged])).code).toBe(8);
    expect(noted().verifier_keys).toBeUndefined();
    expect(await owner.run(['audit', 'verify'])).toMatchObject({ code: 0 });
    const heads = Object.values(noted().seen_heads ?? {}) as string[];
    expect(heads).toHaveLength(1);
    writeFileSync(at('head'), heads[0] ?? '');
    const back = await owner.run(['audit', 'verify', early, '--checkpoint', at('head')]);
    expect(back.code).toBe(8);
    expect(back.stdout).toMatch(/rolled_back|cut_tail/);
    expect((await owner.run(['audit', 'verify', at('none')])).stderr).toContain('cannot be read');
  });

  it('hands a signal on to the program it runs and ends as that one ended', async () => {
    const script =
      'process.on("SIGTERM",()=>{console.log("told");process.kill(process.pid,"SIGKILL")});console.log("up");setTimeout(()=>{},20000)';
    const run = spawn(process.execPath, [MAIN, 'run', '--environment', 'staging', '--', process.execPath, '-e', script], {
      env: { PATH: process.env['PATH'], XDG_CONFIG_HOME: owner.config, KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'acme' },
    });
    let said = '';
    run.stdout.on('data', (part: Buffer) => {
      said += part.toString();
      if (said === 'up\n') run.kill('SIGTERM');
    });
    expect(await once(run, 'close')).toEqual([137, null]);
    expect(said).toBe('up\ntold\n');
  });

  it.each([
    [['--tls-cert', 'cert.pem'], 'both'],
    [['--port', 'abc'], '--port'],
    [['--port', '65536'], '--port'],
  ])('does not start with %j, and makes nothing on disk', async (flags, why) => {
    const refused = await owner.run(['serve', '--data', at('fresh'), ...flags]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(why);
    expect(existsSync(at('fresh'))).toBe(false);
  });
});
