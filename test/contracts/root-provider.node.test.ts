// Every source of a root key on Node, and what is special about each.
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { ROOT_PROVIDERS } from '../../src/node/installation-file.ts';
import { commandWrapping, parseRootCommand } from '../../src/node/root-command.ts';
import type { RootProvider } from '../../src/node/root-provider.ts';
import { type RootOptions, rootSources } from '../../src/node/root-providers.ts';
import { WrappedRootProvider } from '../../src/node/wrapped-root.ts';
import { failureOf } from '../crypto/fixtures.ts';
import { rootProviderContract } from './root-provider.contract.ts';

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';
const made: string[] = [];

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-roots-'));
  made.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/** A program that stands for an HSM: it knows a key in a file beside it, and does to its input what its argument says. */
const PROGRAM = `
import { readFileSync, writeFileSync } from 'node:fs';
const folder = process.argv[2], mode = process.argv[3];
const asked = JSON.parse(readFileSync(0, 'latin1'));
writeFileSync(folder + '/seen', JSON.stringify({ argv: process.argv, env: process.env }));
writeFileSync(folder + '/asked', JSON.stringify(asked));
const pad = readFileSync(folder + '/pad');
if (mode === 'hang') setInterval(() => {}, 1000);
else if (mode === 'fail') process.exit(3);
else if (mode === 'flood') process.stdout.write('x'.repeat(100000));
else if (mode === 'garbage') process.stdout.write('hello\\n');
else if (mode === 'echo') process.stdout.write(JSON.stringify({ data: asked.data }) + '\\n');
else {
  const data = Buffer.from(asked.data, 'base64').map((byte, i) => byte ^ pad[i]);
  process.stdout.write(JSON.stringify({ data: Buffer.from(data).toString('base64') }) + '\\n');
}
`;

function newProgram(mode = 'xor'): { folder: string; command: string } {
  const folder = newFolder();
  writeFileSync(join(folder, 'pad'), Buffer.alloc(64, 0x5a));
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
  return { folder, command: JSON.stringify([process.execPath, join(folder, 'program.mjs'), folder, mode]) };
}

const sourceOf = (options: RootOptions, keyfile = '/nowhere/root.key') => rootSources(options, keyfile).given[0] as RootProvider;

const PLACES = {
  keyfile: () => {
    const keyfile = join(newFolder(), 'root.key');
    return { open: () => sourceOf({ rootKeyFile: keyfile }, keyfile), lose: () => renameSync(keyfile, `${keyfile}.away`) };
  },
  passphrase: () => {
    const passphraseFile = join(newFolder(), 'phrase');
    writeFileSync(passphraseFile, 'correct horse battery staple, not a real secret\n', { mode: 0o600 });
    return { open: () => sourceOf({ passphraseFile }), lose: () => rmSync(passphraseFile) };
  },
  exec: () => {
    const { folder, command } = newProgram();
    return { open: () => sourceOf({ rootCommand: command }), lose: () => rmSync(join(folder, 'pad')) };
  },
  shamir: () => {
    const folder = newFolder();
    const lose = () => {
      for (const name of readdirSync(folder).slice(2)) rmSync(join(folder, name));
    };
    return { open: () => sourceOf({ rootShares: folder }), lose };
  },
} as const;

/** In a file of its own, because it needs a server: root-provider-kms.test.ts. */
const ELSEWHERE = ['aws-kms'];

it('every source is held to the contract', () => {
  expect([...Object.keys(PLACES), ...ELSEWHERE].sort()).toEqual([...ROOT_PROVIDERS].sort());
});

for (const [name, place] of Object.entries(PLACES)) rootProviderContract(name, () => ({ ...place(), remove: () => {} }));

describe('a program that wraps the root key', () => {
  it('gets it by standard input only: neither arguments nor environment have it, nor a setting of the service', async () => {
    vi.stubEnv('KEYTURN_TOKEN', 'not-a-real-secret');
    const { folder, command } = newProgram();
    const { root } = await sourceOf({ rootCommand: command }).first(INSTALLATION);
    vi.unstubAllEnvs();
    const seen = readFileSync(join(folder, 'seen'), 'utf8');
    root.revealTo((bytes) => expect(seen).not.toContain(Buffer.from(bytes).toString('base64')));
    expect(seen).not.toContain('KEYTURN_');
    expect(JSON.parse(readFileSync(join(folder, 'asked'), 'utf8'))).toMatchObject({
      action: 'unwrap',
      installation: INSTALLATION,
    });
  });

  it.each([
    ['fail', 'it ended with 3'],
    ['garbage', 'the answer is not'],
    ['flood', 'more than 65536 bytes'],
  ])('is refused when it does this: %s', async (mode, evidence) => {
    const { command } = newProgram(mode);
    const refusal = sourceOf({ rootCommand: command }).first(INSTALLATION);
    await expect(refusal).rejects.toMatchObject({ code: 'sealed', evidence: expect.stringContaining(evidence) });
  });

  it('is killed when it does not answer in time', async () => {
    const { command } = newProgram('hang');
    const wrapping = commandWrapping(parseRootCommand(command), 300);
    const refusal = new WrappedRootProvider('exec', 'a program', '--root-command', wrapping).first(INSTALLATION);
    await expect(refusal).rejects.toMatchObject({ code: 'sealed', evidence: 'no answer within 300 ms' });
  });

  it('is refused when it does not wrap at all: the key would be in installation.json', async () => {
    const { command } = newProgram('echo');
    await expect(sourceOf({ rootCommand: command }).first(INSTALLATION)).rejects.toMatchObject({
      code: 'sealed',
      message: expect.stringContaining('not wrapped at all'),
    });
  });

  it.each(['hsm-wrap', './hsm-wrap', '["hsm-wrap","x"]', '[]', '[1]', '["/bin/x"', '{"a":1}'])('is not %s', (text) => {
    expect(failureOf(() => parseRootCommand(text)).code).toBe('invalid_request');
  });

  it('is a path, or a path with arguments', () => {
    expect(parseRootCommand('/usr/local/bin/hsm wrap')).toEqual(['/usr/local/bin/hsm wrap']);
    expect(parseRootCommand('["/bin/hsm","--slot","1"]')).toEqual(['/bin/hsm', '--slot', '1']);
  });
});

describe('shares of the root key', () => {
  const all = () => true;

  it('are files for their holders, 0600; any three of five open it, twice the same one does not count', async () => {
    const folder = newFolder();
    const { root, descriptor } = await sourceOf({ rootShares: folder }).first(INSTALLATION);
    const names = readdirSync(folder).sort();
    expect(names).toHaveLength(5);
    for (const name of names.slice(0, 2)) rmSync(join(folder, name));
    expect((await sourceOf({ rootShares: folder }).open(descriptor, INSTALLATION, all)).id).toBe(root.id);
    renameSync(join(folder, names[2] ?? ''), join(folder, 'away'));
    writeFileSync(join(folder, 'again.share'), readFileSync(join(folder, names[3] ?? '')), { mode: 0o600 });
    await expect(sourceOf({ rootShares: folder }).open(descriptor, INSTALLATION, all)).rejects.toMatchObject({
      code: 'sealed',
      message: expect.stringContaining('holds 2 shares'),
    });
  });

  it('are refused when others can read one, or one is damaged', async () => {
    const folder = newFolder();
    const { descriptor } = await sourceOf({ rootShares: folder, rootSharePlan: '2/2' }).first(INSTALLATION);
    const [name = ''] = readdirSync(folder);
    chmodSync(join(folder, name), 0o644);
    const open = () => sourceOf({ rootShares: folder }).open(descriptor, INSTALLATION, all);
    await expect(open()).rejects.toMatchObject({ code: 'sealed', message: expect.stringContaining('0644') });
    chmodSync(join(folder, name), 0o600);
    writeFileSync(join(folder, name), readFileSync(join(folder, name), 'utf8').replace(/\S+\s*$/, 'academic'));
    await expect(open()).rejects.toMatchObject({ code: 'sealed' });
  });

  it.each(['3', '0/3', '4/3', '1/2', '2/17', 'x/y'])('have no plan %s', async (rootSharePlan) => {
    const make = async () => sourceOf({ rootShares: newFolder(), rootSharePlan }).first(INSTALLATION);
    await expect(make()).rejects.toMatchObject({ code: 'invalid_request' });
  });
});

describe('a keyfile after a rotation', () => {
  it('has the place of the one before, which is kept beside it; a named next one stays where it is', async () => {
    const keyfile = join(newFolder(), 'root.key');
    const provider = sourceOf({ rootKeyFile: keyfile }, keyfile);
    await provider.first(INSTALLATION);
    const old = readFileSync(keyfile, 'utf8');
    await provider.next(INSTALLATION);
    provider.settle();
    expect(readFileSync(`${keyfile}.previous`, 'utf8')).toBe(old);
    expect([readFileSync(keyfile, 'utf8') === old, existsSync(`${keyfile}.next`)]).toEqual([false, false]);
    await expect(provider.next(INSTALLATION)).rejects.toMatchObject({ code: 'conflict' });

    const nextRootKeyFile = join(newFolder(), 'other.key');
    const named = sourceOf({ rootKeyFile: keyfile, nextRootKeyFile }, keyfile);
    const { root } = await named.next(INSTALLATION);
    named.settle();
    expect(existsSync(nextRootKeyFile)).toBe(true);
    const matches = (one: { id: string }) => one.id === root.id;
    expect((await sourceOf({ rootKeyFile: keyfile, nextRootKeyFile }, keyfile).open({ provider: 'keyfile' }, INSTALLATION, matches)).id).toBe(root.id); // biome-ignore format: one line
  });
});
