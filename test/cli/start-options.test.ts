// Every option of a start: one that contradicts what is there, or does nothing as it stands, is refused, and nothing is made or changed.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookDeep } from '../../src/cli/commands/doctor-deep.ts';
import { serveCommand } from '../../src/cli/commands/serve.ts';
import { doctorCommand } from '../../src/cli/commands/session.ts';
import { startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';
import { setUpOwner } from '../kit/node-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyturn-options-'));
const at = (name: string) => join(folder, name);
const cli = new CommandLine();
let taken: Server;
let port = '';

/** Names and contents of everything in a directory. */
function picture(directory: string): string[] {
  if (!existsSync(directory)) return ['absent'];
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries
    .map(({ parentPath, name }) => join(parentPath, name))
    .map((path) => `${path} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`)
    .sort();
}

interface Root {
  readonly passphraseFile?: string;
  readonly rootKeyFile?: string;
}

/** Makes an installation, or opens it once more. */
async function start(name: string, root: Root = {}, during: (url: string) => unknown = () => {}): Promise<void> {
  const running = await startKeyturn({ dataDirectory: at(name), host: '127.0.0.1', port: 0, log: () => {}, ...root });
  try {
    await during(running.url);
  } finally {
    await running.close();
  }
}

beforeAll(async () => {
  taken = createServer();
  await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
  port = String((taken.address() as { port: number }).port);
  writeFileSync(at('phrase'), 'correct horse battery staple, not a real secret\n', { mode: 0o600 });
  await start('keyed', {}, (url) => setUpOwner(url, at('keyed')));
  await start('phrased', { passphraseFile: at('phrase') });
  await start('other');
  await start('apart', { rootKeyFile: at('apart.key') });
  // A start that ended between its keyfile and its installation.
  mkdirSync(at('half-made'), { mode: 0o700 });
  copyFileSync(at('other/root.key'), at('half-made/root.key'));
}, 60_000);

afterAll(() => {
  taken.close();
  for (const path of [folder, cli.config]) rmSync(path, { recursive: true, force: true });
});

type Refusal = readonly [directory: string, args: () => readonly string[], says: RegExp];

/** What each option of `serve` is refused for, or why nothing contradicts it. */
const SERVE: Readonly<Record<string, readonly Refusal[] | string>> = {
  '--data': 'the directory that all others are held to',
  '--host': [['new', () => ['--host', '0.0.0.0'], /without TLS/]],
  '--port': [
    ['new', () => ['--port', port], /is in use by another program/],
    ['new', () => ['--port', '70000'], /--port must be a whole number/],
    ['keyed', () => ['--port', port], /is in use by another program/],
  ],
  '--tls-cert': [['new', () => ['--tls-cert', at('none.pem')], /needs both --tls-cert and --tls-key/]],
  '--tls-key': [
    ['new', () => ['--tls-key', at('none.pem')], /needs both --tls-cert and --tls-key/],
    ['new', () => ['--tls-key', at('none.pem'), '--tls-cert', at('none.pem')], /cannot be read/],
  ],
  '--tls-min': [['new', () => ['--tls-min', '1.2'], /--tls-min needs --tls-cert/]],
  '--behind-proxy': 'says what stands in front, which nothing here can contradict',
  '--trusted-proxy': [
    ['new', () => ['--trusted-proxy', '10.0.0.0/8'], /needs --behind-proxy/],
    ['new', () => ['--behind-proxy', '--trusted-proxy', 'nowhere'], /a network must be/],
  ],
  '--public-url': [['new', () => ['--public-url', 'http://vault.example'], /public URL must be https/]],
  '--root-key-file': [
    ['phrased', () => ['--root-key-file', at('other/root.key')], /opens with its passphrase, not with a keyfile/],
    ['keyed', () => ['--root-key-file', at('other/root.key')], /does not belong/],
    ['keyed', () => ['--root-key-file', at('none.key')], /the keyfile does not exist/],
    ['new', () => ['--root-key-file', at('other/root.key'), '--passphrase-file', at('phrase')], /not both/],
    ['keyed', () => ['--root-key-file', at('keyed/root.key'), '--passphrase-file', at('phrase')], /not both/],
  ],
  '--passphrase-file': [
    ['keyed', () => ['--passphrase-file', at('phrase')], /opens with the keyfile \S+root\.key, not with a passphrase/],
    ['apart', () => ['--passphrase-file', at('phrase')], /opens with the keyfile/],
    ['half-made', () => ['--passphrase-file', at('phrase')], /holds a root key although a passphrase is given/],
  ],
  '--root-command': [
    ['keyed', () => ['--root-command', '/bin/false'], /opens with the keyfile \S+root\.key, not with a program/],
    ['new', () => ['--root-command', 'hsm-wrap'], /--root-command must be an absolute path/],
  ],
  '--root-kms-key': [['keyed', () => ['--root-kms-key', 'alias/none'], /opens with the keyfile \S+root\.key, not with AWS KMS/]],
  '--root-shares': [['keyed', () => ['--root-shares', at('none')], /opens with the keyfile \S+root\.key, not with shares/]],
  '--root-share-plan': [
    ['new', () => ['--root-shares', at('none'), '--root-share-plan', '3'], /must be <needed>\/<shares>/],
    ['keyed', () => ['--root-share-plan', '2/3'], /--root-share-plan needs --root-shares/],
  ],
  '--next-root-key-file': 'names a file that only a rotation makes',
  '--next-root': [['keyed', () => ['--next-root', 'passphrase'], /--next-root passphrase needs the options of that source/]],
  '--key-period': [
    ['keyed', () => ['--key-period', '12h'], /--key-period must be from 1 day to 3650 days/],
    ['new', () => ['--key-period', '4000d'], /--key-period must be from 1 day to 3650 days/],
  ],
  '--witness-dir': [['keyed', () => ['--witness-dir', at('no-witnesses')], /witness/]],
  '--accept-missing-witness': [
    ['keyed', () => ['--accept-missing-witness', `ten_${'0'.repeat(24)}`], /names a cell that is not in the data directory/],
    ['keyed', () => ['--accept-missing-witness', 'acme'], /names a cell that is not in the data directory/],
    ['new', () => ['--accept-missing-witness', 'acme'], /names a cell that is not in the data directory/],
  ],
  '--accept-clock': 'is a word about the machine; where the clock is right it changes nothing',
  '--allow-local-sandbox': 'allows more, whatever is there',
  '--database-network': [
    ['new', () => ['--database-network', '10.0.0.0/8', 'nowhere'], /a database network must be in CIDR form/],
    ['keyed', () => ['--database-network', '10.0.0.1'], /a database network must be in CIDR form/],
  ],
  '--rotation-programs': [
    ['new', () => ['--rotation-programs', at('none')], /the file of --rotation-programs: cannot be opened \(ENOENT\)/],
    ['keyed', () => ['--rotation-programs', '/tmp'], /the file of --rotation-programs: must be a regular file/],
  ],
  '--tour': 'shows nothing where it was shown',
};

const ROOT_OPTIONS = [
  '--root-key-file',
  '--passphrase-file',
  '--root-command',
  '--root-kms-key',
  '--root-shares',
  '--witness-dir',
];
const longNames = (command: ReturnType<typeof serveCommand>) => command.options.map(({ long }) => long ?? '');

describe('each option of serve', () => {
  it('stands in the table', () => {
    expect(longNames(serveCommand())).toEqual(Object.keys(SERVE));
  });

  const cases = Object.entries(SERVE).flatMap(([option, refusals]) =>
    typeof refusals === 'string' ? [] : refusals.map((refusal, i) => ({ option, i, refusal })),
  );
  it.each(cases)('$option is refused where it does not fit ($i), and nothing changes', async ({ refusal }) => {
    const [directory, args, says] = refusal;
    const data = at(directory);
    const before = picture(data);
    const given = args();
    const all = ['--data', data, ...(given.includes('--port') ? [] : ['--port', '0']), ...given];
    await expect(serveCommand().parseAsync(all, { from: 'user' })).rejects.toThrow(says);
    expect(picture(data)).toEqual(before);
  });
});

describe('each option of doctor', () => {
  it('about the root key and the witness is one of serve, and is refused where it does nothing or does not fit', async () => {
    expect(longNames(doctorCommand()).filter((name) => name !== '--data' && name !== '--deep')).toEqual(ROOT_OPTIONS);
    const shallow = await cli.run(['doctor', '--data', at('keyed'), ...ROOT_OPTIONS.flatMap((option) => [option, at('phrase')])]);
    expect(shallow.stderr).toContain(`${ROOT_OPTIONS.join(', ')} needs --deep`);
    expect(shallow.code).toBe(2);
    const refusals = ['--root-key-file', '--passphrase-file'].flatMap((option) => SERVE[option] as readonly Refusal[]);
    for (const [directory, args, says] of refusals.filter(([directory]) => directory !== 'new' && directory !== 'half-made'))
      await expect(lookDeep({ data: at(directory), ...rootOf(args()) })).rejects.toThrow(says);
  });
});

function rootOf(args: readonly string[]): Root {
  const after = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
  const [rootKeyFile, passphraseFile] = [after('--root-key-file'), after('--passphrase-file')];
  return { ...(rootKeyFile === undefined ? {} : { rootKeyFile }), ...(passphraseFile === undefined ? {} : { passphraseFile }) };
}

describe('a right start', () => {
  it.each<readonly [string, () => Root]>([
    ['keyed', () => ({})],
    ['phrased', () => ({ passphraseFile: at('phrase') })],
    ['apart', () => ({ rootKeyFile: at('apart.key') })],
  ])('(%s) still opens, and passes the deep look', async (directory, root) => {
    await start(directory, root());
    expect(await lookDeep({ data: at(directory), ...root() })).toMatchObject({ ok: true });
  });
});
