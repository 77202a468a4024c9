// The sources of a root key on Node that the options name, and which of them opens an installation. Also the sources that are files of this
// service: a keyfile, and a passphrase.
import { existsSync, renameSync, rmSync } from 'node:fs';
import { fail } from '../base/errors.ts';
import type { RootKey } from '../crypto/root-key.ts';
import { placeOnce, syncDirectoryOf } from './durable-files.ts';
import type { RootDescriptor, RootProviderName } from './installation-file.ts';
import { commandWrapping, parseRootCommand } from './root-command.ts';
import { createKeyfile, createPassphraseHeader, openPassphrase, readKeyfile, readPassphrase } from './root-key-file.ts';
import { kmsWrapping } from './root-kms.ts';
import type { MadeRoot, Matches, RootProvider } from './root-provider.ts';
import { SharesProvider } from './root-shares.ts';
import { WrappedRootProvider } from './wrapped-root.ts';

export interface RootOptions {
  readonly rootKeyFile?: string | undefined;
  /** The keyfile after the next rotation. Default: `<keyfile>.next`, which takes the name of the keyfile. */
  readonly nextRootKeyFile?: string | undefined;
  readonly passphraseFile?: string | undefined;
  /** A program that wraps the root key (root-command.ts). */
  readonly rootCommand?: string | undefined;
  /** The id, ARN or alias of a key of AWS KMS that wraps the root key (root-kms.ts). */
  readonly rootKmsKey?: string | undefined;
  /** A folder with the shares of the root key, and how many of how many are needed (root-shares.ts). Default: 3/5. */
  readonly rootShares?: string | undefined;
  readonly rootSharePlan?: string | undefined;
  /** The provider after the next rotation. Default: the same. */
  readonly nextRoot?: RootProviderName | undefined;
}

/** The sources that the operator named. */
export interface RootSources {
  /** At least one. */
  readonly given: readonly RootProvider[];
  /** False if the operator named none, so that the keyfile in the data directory is the source. */
  readonly isNamed: boolean;
  readonly next: RootProviderName | undefined;
}

/** @throws invalid_request */
export function rootSources(options: RootOptions, keyfile: string): RootSources {
  const named = namedSources(options, keyfile);
  const byDefault = new KeyfileProvider(keyfile, options.nextRootKeyFile);
  const given = named.length === 0 ? [byDefault] : named;
  const { nextRoot: next } = options;
  if (next === undefined && named.length > 1)
    fail(
      'invalid_request',
      `the root key comes from one source: give ${named.map((one) => one.options).join(' or ')}, not both; to move to another source give both and --next-root`,
    );
  if (next !== undefined && !given.some(({ name }) => name === next)) {
    if (next !== 'keyfile') fail('invalid_request', `the option --next-root ${next} needs the options of that source`);
    given.push(byDefault);
  }
  // A move away from the keyfile in the data directory: it is the source until the rotation.
  if (next !== undefined && named.length === 1 && next !== 'keyfile') given.push(byDefault);
  return { given, isNamed: named.length > 0, next };
}

/** @throws invalid_request */
function namedSources(options: RootOptions, keyfile: string): RootProvider[] {
  const named: RootProvider[] = [];
  if (options.rootKeyFile !== undefined) named.push(new KeyfileProvider(keyfile, options.nextRootKeyFile));
  if (options.passphraseFile !== undefined) named.push(new PassphraseProvider(options.passphraseFile));
  if (options.rootCommand !== undefined)
    named.push(
      new WrappedRootProvider('exec', 'a program', '--root-command', commandWrapping(parseRootCommand(options.rootCommand))),
    );
  const { rootKmsKey } = options;
  if (rootKmsKey !== undefined)
    named.push(new WrappedRootProvider('aws-kms', 'AWS KMS', '--root-kms-key', kmsWrapping(rootKmsKey)));
  if (options.rootShares === undefined && options.rootSharePlan !== undefined)
    fail('invalid_request', 'the option --root-share-plan needs --root-shares: give both or neither');
  if (options.rootShares !== undefined) named.push(new SharesProvider(options.rootShares, options.rootSharePlan ?? '3/5'));
  return named;
}

/** The provider that the descriptor names. @throws sealed if the operator named another one */
export function providerFor({ given, next }: RootSources, name: RootProviderName, keyfile: string): RootProvider {
  const provider = given.find((one) => one.name === name);
  const other = given.find((one) => one.name !== name && one.name !== next);
  // SECURITY: an option that is silently not used would let the operator believe that the key is elsewhere.
  if (provider !== undefined && other === undefined) return provider;
  const [opensWith, option] = name === 'keyfile' ? [`the keyfile ${keyfile}`, '--root-key-file'] : OPENS_WITH[name];
  return fail(
    'sealed',
    `this installation opens with ${opensWith}, not with ${other?.described ?? 'the named source'}: give ${option} instead of ${other?.options ?? 'it'}`,
  );
}

/** The provider of the root key after the next rotation. */
export function nextProvider({ given, next }: RootSources, present: RootProviderName): RootProvider {
  const name = next ?? present;
  return given.find((one) => one.name === name) ?? fail('internal', 'no source of the next root key');
}

const OPENS_WITH: Readonly<Record<Exclude<RootProviderName, 'keyfile'>, readonly [opensWith: string, option: string]>> = {
  passphrase: ['its passphrase', '--passphrase-file'],
  exec: ['a program', '--root-command'],
  'aws-kms': ['AWS KMS', '--root-kms-key'],
  shamir: ['its shares', '--root-shares'],
};

class KeyfileProvider implements RootProvider {
  readonly name = 'keyfile';
  readonly described = 'a keyfile';
  readonly options = '--root-key-file';
  readonly #path: string;
  readonly #nextPath: string;
  readonly #nextIsNamed: boolean;
  #isNext = false;

  constructor(path: string, nextPath?: string) {
    this.#path = path;
    this.#nextPath = nextPath ?? `${path}.next`;
    this.#nextIsNamed = nextPath !== undefined;
  }

  /** Where the keyfile of before a rotation is kept. */
  get previousPath(): string {
    return `${this.#path}.previous`;
  }

  async first(): Promise<MadeRoot> {
    return { root: readOrMake(this.#path), descriptor: { provider: 'keyfile' } };
  }

  async next(): Promise<MadeRoot> {
    if (!this.#nextIsNamed && existsSync(this.previousPath))
      fail(
        'conflict',
        `${this.previousPath} holds the root key before the present one: move it to where the backups of that time are, or delete it, then rotate again`,
      );
    const root = readOrMake(this.#nextPath);
    this.#isNext = true;
    return { root, descriptor: { provider: 'keyfile' } };
  }

  async open(_descriptor: RootDescriptor, _installationId: string, matches: Matches): Promise<RootKey> {
    this.#isNext = false;
    const hasNext = existsSync(this.#nextPath);
    if (existsSync(this.#path) || !hasNext) {
      const present = readKeyfile(this.#path);
      if (matches(present) || !hasNext) return present;
    }
    this.#isNext = true;
    return readKeyfile(this.#nextPath);
  }

  settle(): void {
    if (!this.#isNext || this.#nextIsNamed || !existsSync(this.#nextPath)) return;
    if (existsSync(this.#path)) renameSync(this.#path, this.previousPath);
    renameSync(this.#nextPath, this.#path);
    syncDirectoryOf(this.#path);
    this.#isNext = false;
  }
}

function readOrMake(path: string): RootKey {
  if (existsSync(path)) return readKeyfile(path);
  // Complete or absent: a full disk must not leave a partial keyfile that every later start refuses.
  const temporary = `${path}.${process.pid}.new`;
  try {
    const root = createKeyfile(temporary);
    placeOnce(temporary, path);
    return root;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** The descriptor's header derives the root key, so a rotation can keep the passphrase: the new header has another salt. */
class PassphraseProvider implements RootProvider {
  readonly name = 'passphrase';
  readonly described = 'a passphrase';
  readonly options = '--passphrase-file';
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async first(): Promise<MadeRoot> {
    const { header, root } = createPassphraseHeader(readPassphrase(this.#path));
    return { root, descriptor: { provider: 'passphrase', header } };
  }

  /** Known hole: deriving the key holds the request thread for about half a second, once for each rotation. */
  next(): Promise<MadeRoot> {
    return this.first();
  }

  async open(descriptor: RootDescriptor): Promise<RootKey> {
    if (descriptor.provider !== 'passphrase') return fail('internal', 'a descriptor of another provider');
    return openPassphrase(descriptor.header, readPassphrase(this.#path));
  }

  settle(): void {}
}
