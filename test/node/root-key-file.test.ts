import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { SecretValue } from '../../src/base/secret-value.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';
import { createKeyfile, createPassphraseHeader, openPassphrase, readKeyfile } from '../../src/node/root-key-file.ts';
import { failureOf } from '../crypto/fixtures.ts';

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';
const base = mkdtempSync(join(tmpdir(), 'keyturn-root-key-'));
afterAll(() => rmSync(base, { recursive: true }));
let directory = '';
let path = '';
let count = 0;
beforeEach(() => {
  count += 1;
  directory = join(base, String(count));
  mkdirSync(directory, { mode: 0o700 });
  path = join(directory, 'root.key');
});

describe('the keyfile', () => {
  it('is made with a fresh key and read back', () => {
    const check = createKeyfile(path).rootCheck(INSTALLATION);
    expect(readKeyfile(path).matches(INSTALLATION, check)).toBe(true);
    expect(readFileSync(path, 'utf8')).toMatch(/^keyturn-root-v1:[\w-]{43}:[0-9a-f]{8}\n$/);
    expect(createKeyfile(`${path}2`).matches(INSTALLATION, check)).toBe(false);
  });

  it.each([0o000, 0o022, 0o277])('is readable by its owner only, whatever the umask (%o)', (umask) => {
    const former = process.umask(umask);
    try {
      createKeyfile(path);
    } finally {
      process.umask(former);
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('is never overwritten, nor written through a link', () => {
    createKeyfile(path);
    const before = readFileSync(path, 'utf8');
    expect(failureOf(() => createKeyfile(path)).code).toBe('conflict');
    expect(readFileSync(path, 'utf8')).toBe(before);
    symlinkSync(join(directory, 'elsewhere'), `${path}.link`);
    expect(failureOf(() => createKeyfile(`${path}.link`)).code).toBe('conflict');
    expect(existsSync(join(directory, 'elsewhere'))).toBe(false);
  });

  it('is refused when it is missing or its folder is', () => {
    expect(failureOf(() => readKeyfile(path)).code).toBe('sealed');
    expect(failureOf(() => createKeyfile(join(directory, 'missing', 'root.key'))).code).toBe('storage_unavailable');
  });

  it.each([0o604, 0o644, 0o601, 0o666, 0o662])('is refused with mode %o, which is named and left as it is', (mode) => {
    createKeyfile(path);
    chmodSync(path, mode);
    const { message } = failureOf(() => readKeyfile(path));
    expect(message).toContain('chmod 600');
    expect(message).toContain(`has mode 0${mode.toString(8)}`);
    expect(statSync(path).mode & 0o777).toBe(mode);
  });

  it.each([0o440, 0o640])('is accepted where its group may read it (%o)', (mode) => {
    createKeyfile(path);
    chmodSync(path, mode);
    expect(readKeyfile(path).rootCheck(INSTALLATION).byteLength).toBe(32);
    expect(statSync(path).mode & 0o777).toBe(mode);
  });

  it('loses the write access that a volume gave its group', () => {
    createKeyfile(path);
    chmodSync(path, 0o660);
    expect(readKeyfile(path).rootCheck(INSTALLATION).byteLength).toBe(32);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it('is accepted read-only', () => {
    createKeyfile(path);
    chmodSync(path, 0o400);
    expect(readKeyfile(path).rootCheck(INSTALLATION).byteLength).toBe(32);
  });

  it('is read through the links of a mounted Kubernetes secret', () => {
    const check = createKeyfile(path).rootCheck(INSTALLATION);
    mkdirSync(join(directory, '..2026_11_27'), { mode: 0o755 });
    renameSync(path, join(directory, '..2026_11_27', 'root.key'));
    chmodSync(join(directory, '..2026_11_27', 'root.key'), 0o440);
    symlinkSync('..2026_11_27', join(directory, '..data'));
    symlinkSync('..data/root.key', path);
    chmodSync(directory, 0o1777);
    expect(readKeyfile(path).matches(INSTALLATION, check)).toBe(true);
    chmodSync(join(directory, '..2026_11_27'), 0o777);
    expect(failureOf(() => readKeyfile(path)).message).toContain('folder');
  });

  // Only root can give a link away.
  it.skipIf(process.getuid?.() !== 0)('is refused behind a link that another user made', () => {
    createKeyfile(path);
    symlinkSync(path, `${path}.link`);
    expect(() => readKeyfile(`${path}.link`)).not.toThrow();
    lchownSync(`${path}.link`, 65534, 65534);
    expect(failureOf(() => readKeyfile(`${path}.link`)).message).toContain('another user');
  });

  it('is refused when it is a folder or a device', () => {
    mkdirSync(path, { mode: 0o700 });
    expect(failureOf(() => readKeyfile(path)).message).toContain('regular file');
    symlinkSync('/dev/null', `${path}.device`);
    expect(failureOf(() => readKeyfile(`${path}.device`)).message).toContain('regular file');
  });

  it('is refused when it is a pipe, without waiting for a writer', ({ skip }) => {
    if (spawnSync('mkfifo', ['-m', '600', `${path}.pipe`]).status !== 0) {
      console.warn('SKIPPED the keyfile that is a pipe: the program mkfifo is not on this machine');
      skip();
    }
    expect(failureOf(() => readKeyfile(`${path}.pipe`)).message).toContain('regular file');
  });

  // Only root can give a file away; elsewhere the account itself cannot make the case.
  it.skipIf(process.getuid?.() !== 0)('is refused when it belongs to someone else', () => {
    createKeyfile(path);
    chownSync(path, 65534, 65534);
    expect(failureOf(() => readKeyfile(path)).message).toContain('must be owned by');
  });

  it('is refused in a folder everyone may write to', () => {
    createKeyfile(path);
    chmodSync(directory, 0o777);
    expect(failureOf(() => readKeyfile(path)).message).toContain('folder');
    chmodSync(directory, 0o1777);
    expect(() => readKeyfile(path)).not.toThrow();
  });

  it('is refused when it is empty, cut, too long or damaged, and its content is not repeated', () => {
    createKeyfile(path);
    const line = readFileSync(path, 'utf8');
    const flipped = line.slice(0, 20) + (line[20] === 'A' ? 'B' : 'A') + line.slice(21);
    for (const content of ['', line.slice(0, 40), flipped, `${line}${line}`, 'x'.repeat(10_000), '\0'.repeat(70)]) {
      writeFileSync(path, content);
      const failure = failureOf(() => readKeyfile(path));
      expect(failure.code).toBe('sealed');
      expect(failure.message).not.toContain(line.slice(22, 40));
    }
  });
});

describe('the passphrase', () => {
  const passphrase = SecretValue.fromText('not-a-real-secret: correct horse battery');
  const { header, root } = createPassphraseHeader(passphrase);
  const check = root.rootCheck(INSTALLATION);
  const changed = (change: object) => canonicalJson({ ...JSON.parse(header), ...change });

  it('gives the same root key with its header', () => {
    expect(openPassphrase(header, passphrase).matches(INSTALLATION, check)).toBe(true);
    expect(openPassphrase(`${header}\n`, passphrase).matches(INSTALLATION, check)).toBe(true);
    expect(JSON.parse(header)).toMatchObject({ kdf: 'scrypt', n: 131072, r: 8, p: 1 });
  });

  it('is refused when it is wrong, and so is a changed salt', () => {
    expect(failureOf(() => openPassphrase(header, SecretValue.fromText('not-a-real-secret: wrong horse'))).code).toBe('sealed');
    expect(failureOf(() => openPassphrase(changed({ salt: 'A'.repeat(43) }), passphrase)).message).toContain('is wrong');
  });

  it('is refused when another cost within bounds was written in', () => {
    expect(failureOf(() => openPassphrase(changed({ p: 2 }), passphrase)).message).toContain('is wrong');
  });

  it.each([
    ['n', 2 ** 16],
    ['n', 2 ** 21],
    ['n', 2 ** 17 + 2],
    ['n', 2 ** 40],
    ['n', -1],
    ['r', 1],
    ['r', 64],
    ['p', 0],
    ['p', 1000],
    ['p', 1.5],
    ['n', '131072'],
    ['r', null],
  ])('does no work for a header whose %s is %s', (name, value) => {
    const startedAt = performance.now();
    expect(failureOf(() => openPassphrase(changed({ [name]: value }), passphrase)).message).toContain('out of bounds');
    expect(performance.now() - startedAt).toBeLessThan(100);
  });

  it.each([
    ['another format', () => changed({ format: 'keyturn-passphrase-v2' })],
    ['another KDF', () => changed({ kdf: 'pbkdf2' })],
    ['a short salt', () => changed({ salt: 'AAAA' })],
    ['a salt in another spelling', () => changed({ salt: `${'A'.repeat(42)}B` })],
    ['a short MAC', () => changed({ mac: 'AAAA' })],
    ['an unknown member', () => changed({ note: 'x' })],
    ['a repeated member', () => header.replace('{', '{"p":9,')],
    ['a missing member', () => header.replace(/"p":1,/, '')],
    ['spaces', () => JSON.stringify(JSON.parse(header), null, 1)],
    ['no JSON', () => 'nonsense'],
    ['null', () => 'null'],
    ['an array', () => '[]'],
    ['too many characters', () => changed({ note: 'x'.repeat(2000) })],
  ])('does no work for a header with %s', (_, header) => {
    expect(failureOf(() => openPassphrase(header(), passphrase)).message).toBe('the passphrase header is damaged');
  });

  it('must not be short', () => {
    expect(failureOf(() => createPassphraseHeader(SecretValue.fromText('fourteen bytes'))).code).toBe('invalid_request');
  });
});
