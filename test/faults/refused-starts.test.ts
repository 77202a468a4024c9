// CR-10, ST-06, ST-13: a start that must not happen is refused in one sentence and leaves every byte as it was.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  apiKey,
  type ChildOptions,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
} from '../kit/node-process.ts';

const ONE_SENTENCE = /^sealed: [^\n]{10,200}$/;

/** Every file's path, mode, size, time of change and hash. */
function picture(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const { mode, size, mtimeNs } = statSync(path, { bigint: true });
      const hash = entry.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'directory';
      return `${path} ${(mode & 0o7777n).toString(8)} ${entry.isFile() ? size : ''} ${mtimeNs} ${hash}`;
    })
    .sort();
}

async function furnished(options: ChildOptions = {}): Promise<{ directory: string; place: Place }> {
  const directory = newDirectory();
  const service = await startChild(directory, options);
  const place = await furnish(service.url, directory);
  await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey('one-not-a-real-secret'));
  await service.stop();
  return { directory, place };
}

/** A start that says why not, and touches nothing. */
async function refusal(directory: string, options: ChildOptions = {}): Promise<string> {
  const before = picture(directory);
  const message = await startChild(directory, options).then(
    async (service) => {
      await service.kill();
      throw new Error('the start was not refused');
    },
    (error: Error) => error.message,
  );
  expect(picture(directory)).toEqual(before);
  return message;
}

async function expectGood(directory: string, place: Place, options: ChildOptions = {}): Promise<void> {
  const service = await startChild(directory, options);
  const answer = await clientOf(service.url, place.workload)('GET', `${CREDENTIALS}/a/value`);
  expect(answer.body.value.key).toBe('one-not-a-real-secret');
  await service.stop();
}

afterAll(stopAll);

describe('a start with the wrong key', () => {
  let original: { directory: string; place: Place };
  let other: string;
  beforeAll(async () => {
    original = await furnished();
    other = newDirectory();
    await (await startChild(other)).stop();
  });

  const changes: readonly [string, (directory: string) => void, RegExp][] = [
    [
      'another installation’s keyfile',
      (directory) => writeFileSync(join(directory, 'root.key'), readFileSync(join(other, 'root.key'))),
      /the root key does not belong/,
    ],
    [
      'one flipped bit in the keyfile',
      (directory) => {
        const bytes = readFileSync(join(directory, 'root.key'));
        bytes[30] = (bytes[30] ?? 0) ^ 1;
        writeFileSync(join(directory, 'root.key'), bytes);
      },
      /root key/,
    ],
    [
      'half a keyfile',
      (directory) => writeFileSync(join(directory, 'root.key'), readFileSync(join(directory, 'root.key')).subarray(0, 40)),
      /root key/,
    ],
    ['an empty keyfile', (directory) => writeFileSync(join(directory, 'root.key'), ''), /root key/],
    ['no keyfile', (directory) => rmSync(join(directory, 'root.key')), /the keyfile does not exist/],
    ['a keyfile others can read', (directory) => chmodSync(join(directory, 'root.key'), 0o644), /must not be accessible/],
    ['no installation.json', (directory) => rmSync(join(directory, 'installation.json')), /installation\.json/],
    [
      'half an installation.json',
      (directory) => writeFileSync(join(directory, 'installation.json'), '{"format":"keyturn-inst'),
      /installation\.json/,
    ],
    [
      'an installation.json of another installation',
      (directory) => copyFileSync(join(other, 'installation.json'), join(directory, 'installation.json')),
      /does not belong/,
    ],
    ['no home database', (directory) => rmSync(join(directory, 'home.db')), /home\.db is missing/],
    [
      'neither keyfile nor installation.json nor home database, but tenants',
      (directory) => {
        for (const name of ['root.key', 'installation.json', 'home.db'])
          renameSync(join(directory, name), join(directory, `${name}.away`));
      },
      /database/,
    ],
  ];
  it.each(changes)(
    '(%s) is refused, changes nothing, and works again when put right',
    { timeout: 20_000 },
    async (_name, change, says) => {
      const directory = newDirectory();
      cpSync(original.directory, directory, { recursive: true, preserveTimestamps: true });
      change(directory);
      const message = await refusal(directory);
      expect(message).toMatch(ONE_SENTENCE);
      expect(message).toMatch(says);
      for (const name of ['root.key', 'installation.json', 'home.db'])
        copyFileSync(join(original.directory, name), join(directory, name));
      chmodSync(join(directory, 'root.key'), 0o600);
      await expectGood(directory, original.place);
    },
  );
});

describe('a start with the wrong passphrase', () => {
  it('is refused, changes nothing, and the right one opens', { timeout: 20_000 }, async () => {
    const secrets = newDirectory();
    const [right, wrong] = [join(secrets, 'right'), join(secrets, 'wrong')];
    writeFileSync(right, 'correct horse battery staple, not a real secret\n', { mode: 0o600 });
    writeFileSync(wrong, 'correct horse battery stable, not a real secret\n', { mode: 0o600 });
    const { directory, place } = await furnished({ passphraseFile: right });
    expect(await refusal(directory, { passphraseFile: wrong })).toMatch(ONE_SENTENCE);
    expect(await refusal(directory)).toMatch(/passphrase/);
    expect(await refusal(directory, { passphraseFile: join(secrets, 'absent') })).toMatch(/passphrase file/);
    await expectGood(directory, place, { passphraseFile: right });
  });
});

describe('a second process on a data directory', () => {
  it('is refused in one sentence while the first keeps working', async () => {
    const directory = newDirectory();
    const first = await startChild(directory);
    const place = await furnish(first.url, directory);
    const put = clientOf(first.url, place.workload);
    await put('PUT', `${CREDENTIALS}/a`, apiKey('one-not-a-real-secret'));
    await expect(startChild(directory)).rejects.toThrow(/^conflict: the data directory is in use by another process$/);
    expect((await put('PUT', `${CREDENTIALS}/a`, apiKey('two-not-a-real-secret'))).status).toBe(200);
    await expect(startChild(directory)).rejects.toThrow(/in use/);
    expect((await put('GET', `${CREDENTIALS}/a/value`)).body.value.key).toBe('two-not-a-real-secret');
    await first.stop();
    await (await startChild(directory)).stop();
  });
});

describe('with umask 000', () => {
  it('every file is 0600 and every directory 0700, while running and after', async () => {
    const directory = join(newDirectory(), 'made-by-the-start');
    mkdirSync(directory, { mode: 0o777 });
    chmodSync(directory, 0o777);
    const service = await startChild(directory, { umask: 0 });
    const place = await furnish(service.url, directory);
    await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey('one-not-a-real-secret'));
    const modes = () => {
      const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
      const wrong = entries.filter((entry) => {
        const mode = statSync(join(entry.parentPath, entry.name)).mode & 0o7777;
        return mode !== (entry.isDirectory() ? 0o700 : 0o600);
      });
      expect(statSync(directory).mode & 0o7777).toBe(0o700);
      return { found: entries.length, wrong: wrong.map(({ name }) => name) };
    };
    const running = modes();
    expect(running.wrong).toEqual([]);
    expect(running.found).toBeGreaterThan(8);
    await service.stop();
    expect(modes().wrong).toEqual([]);
  });
});
