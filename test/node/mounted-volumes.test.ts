// Where Kubernetes puts things: a data directory on an fsGroup volume (root:fsGroup 2770) and a root key from a secret
// (root:fsGroup 0440 behind links), for a process that is not root.
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { createKeyfile } from '../../src/node/root-key-file.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const USER = 12_345;
const FS_GROUP = 23_456;
const base = mkdtempSync(join(tmpdir(), 'keyturn-volumes-'));
let volume = '';

/** Only root can give files away and become another user; that user must reach the program, too. */
function canTry(): boolean {
  if (process.getuid?.() !== 0) return false;
  for (let path = MAIN; path !== '/'; path = join(path, '..')) if ((lstatSync(path).mode & 0o005) !== 0o005) return path === MAIN;
  return true;
}
const mayTry = canTry();
if (!mayTry) console.warn('SKIPPED volumes of another owner: they take root, and a checkout that another user may read');

afterAll(() => rmSync(base, { recursive: true, force: true }));
beforeEach(() => {
  chmodSync(base, 0o755);
  volume = mkdtempSync(join(base, 'volume-'));
  chownSync(volume, 0, FS_GROUP);
  chmodSync(volume, 0o2770);
});

interface Said {
  readonly code: number | null;
  readonly text: string;
}

/** Starts as the other user; stops it when it serves. */
function serveAs(data: string, flags: readonly string[] = []): Promise<Said> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, 'serve', '--port', '0', '--data', data, ...flags], {
      uid: USER,
      gid: FS_GROUP,
      cwd: '/',
      env: { PATH: process.env['PATH'], HOME: '/nonexistent', NO_COLOR: '1' },
    });
    let text = '';
    child.stderr.on('data', (part: Buffer) => {
      text += part.toString();
      if (text.includes('stop with Ctrl-C')) child.kill('SIGTERM');
    });
    child.on('close', (code) => resolve({ code, text }));
  });
}

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);

/** What the kubelet does at every mount: the group gets read and write on everything, folders are set-group-id. */
function mountAgain(path: string): void {
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    chownSync(file, statSync(file).uid, FS_GROUP);
    chmodSync(file, (statSync(file).mode & 0o777) | (entry.isDirectory() ? 0o2770 : 0o660));
  }
}

// The condition is said by console.warn above.
describe.skipIf(!mayTry)('a data directory on an fsGroup volume', () => {
  it('is used as it is, its files are private, and stay so when the volume is mounted again', { timeout: 60_000 }, async () => {
    for (const start of ['first', 'second']) {
      const { code, text } = await serveAs(volume);
      expect([start, code], text).toEqual([start, 0]);
      expect(modeOf(volume)).toBe('2770');
      for (const name of ['installation.json', 'home.db', 'bootstrap-secret', 'shown.json']) {
        expect([name, modeOf(join(volume, name))]).toEqual([name, '600']);
      }
      expect(statSync(join(volume, 'root.key')).mode & 0o037).toBe(0);
      for (const name of ['register', 'witness'])
        expect([name, statSync(join(volume, name)).mode & 0o777]).toEqual([name, 0o700]);
      mountAgain(volume);
    }
  });

  it.each([
    ['open to others', 0o2777, 0, /is owned by root and accessible to others \(mode 2777\): .*2770/],
    ['readable by others', 0o2775, 0, /accessible to others \(mode 2775\)/],
    ['of a third user', 0o2770, 34_567, /is owned by another account: .*2770/],
    ['that its group may not write', 0o2750, 0, /cannot be used \(.*: this user has no access, EACCES\)/],
  ])('is refused when it is %s, in a sentence with its path', async (_what, mode, owner, says) => {
    chownSync(volume, owner, FS_GROUP);
    chmodSync(volume, mode);
    const { code, text } = await serveAs(volume);
    expect(code).toBe(1);
    expect(text).toMatch(says);
    expect(text).toContain(volume);
    expect(readdirSync(volume)).toEqual([]);
  });

  it('may be a new folder inside a volume that is open to others', async () => {
    chmodSync(volume, 0o2777);
    expect((await serveAs(join(volume, 'keyturn'))).code).toBe(0);
    expect(statSync(join(volume, 'keyturn')).mode & 0o777).toBe(0o700);
  });
});

// The condition is said by console.warn above.
describe.skipIf(!mayTry)('a root key from a Kubernetes secret', () => {
  function mountSecret(mode: number): string {
    const mount = mkdtempSync(join(base, 'secret-'));
    const dated = join(mount, '..2026_11_27');
    mkdirSync(dated);
    createKeyfile(join(dated, 'root.key'));
    symlinkSync('..2026_11_27', join(mount, '..data'));
    symlinkSync('..data/root.key', join(mount, 'root.key'));
    for (const path of [mount, dated]) chownSync(path, 0, FS_GROUP);
    chownSync(join(dated, 'root.key'), 0, FS_GROUP);
    chmodSync(join(dated, 'root.key'), mode);
    chmodSync(dated, 0o2755);
    chmodSync(mount, 0o3777);
    return join(mount, 'root.key');
  }

  it('is read behind its links with mode 0440', async () => {
    const { code, text } = await serveAs(volume, ['--root-key-file', mountSecret(0o440)]);
    expect(code, text).toBe(0);
    expect(existsSync(join(volume, 'root.key'))).toBe(false);
  });

  it.each([
    [0o444, /has mode 0444/],
    [0o644, /has mode 0644/],
    [0o460, /has mode 0460/],
  ])('is refused with mode %o, which is named with the rule', async (mode, says) => {
    const { code, text } = await serveAs(volume, ['--root-key-file', mountSecret(mode)]);
    expect(code).toBe(1);
    expect(text).toMatch(says);
    expect(text).toContain('0440 where Kubernetes mounts it');
  });

  it('is refused behind a link that a third user made', async () => {
    const path = mountSecret(0o440);
    lchownSync(path, 34_567, FS_GROUP);
    expect((await serveAs(volume, ['--root-key-file', path])).text).toContain('a symbolic link that another user created');
  });

  it('may be a passphrase as well', async () => {
    const file = join(mkdtempSync(join(base, 'secret-')), 'passphrase');
    chmodSync(join(file, '..'), 0o755);
    writeFileSync(file, 'not a real secret but long enough');
    chownSync(file, 0, FS_GROUP);
    chmodSync(file, 0o440);
    expect((await serveAs(volume, ['--passphrase-file', file])).code).toBe(0);
    chmodSync(file, 0o444);
    expect((await serveAs(volume, ['--passphrase-file', file])).text).toContain('the passphrase file has mode 0444');
  });
});
