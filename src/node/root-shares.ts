// A root key in Shamir shares (SLIP-0039): a folder holds one share in each file. A start needs as many of one set as the threshold says; making a key
// writes all of them, for the operator to hand out. It must never delete a share.
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '../base/errors.ts';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { KEY_BYTES, randomBytes } from '../crypto/primitives.ts';
import { RootKey } from '../crypto/root-key.ts';
import { combineShares, setOf, splitSecret } from '../crypto/slip39.ts';
import { writeWhole } from './durable-files.ts';
import type { RootDescriptor } from './installation-file.ts';
import type { MadeRoot, RootProvider } from './root-provider.ts';

const SHARE_FILE = /^[a-z0-9-]{1,64}\.share$/;
const PLAN = /^(\d{1,2})\/(\d{1,2})$/;

/** `<threshold>/<count>`, e.g. `3/5`. @throws invalid_request */
function parsePlan(text: string): { readonly threshold: number; readonly count: number } {
  const [, threshold, count] =
    PLAN.exec(text) ?? fail('invalid_request', 'the option --root-share-plan must be <needed>/<shares>, for example 3/5');
  return { threshold: Number(threshold), count: Number(count) };
}

export class SharesProvider implements RootProvider {
  readonly name = 'shamir';
  readonly described = 'shares';
  readonly options = '--root-shares';
  readonly #directory: string;
  readonly #plan: { readonly threshold: number; readonly count: number };

  constructor(directory: string, plan: string) {
    this.#directory = directory;
    this.#plan = parsePlan(plan);
  }

  async first(): Promise<MadeRoot> {
    const { threshold, count } = this.#plan;
    const bytes = randomBytes(KEY_BYTES);
    try {
      const shares = splitSecret(bytes, threshold, count);
      const set = setOf(shares[0] ?? '');
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      for (const [i, share] of shares.entries())
        writeWhole(join(this.#directory, `${set.replace(' ', '-')}-${i + 1}-of-${count}.share`), `${share}\n`);
      return { root: RootKey.of(bytes), descriptor: { provider: 'shamir', set, threshold } };
    } finally {
      bytes.fill(0);
    }
  }

  /** The shares of the present key stay where they are; their set has another name. */
  next(): Promise<MadeRoot> {
    return this.first();
  }

  async open(descriptor: RootDescriptor): Promise<RootKey> {
    if (descriptor.provider !== 'shamir') return fail('internal', 'a descriptor of another provider');
    const { set, threshold } = descriptor;
    const shares = [...new Set(this.#shares())].filter((share) => setOf(share) === set);
    if (shares.length < threshold)
      fail(
        'sealed',
        `${this.#directory} holds ${shares.length} shares of the set "${set}", and ${threshold} are needed: put a file *.share for each there`,
      );
    const bytes = combineShares(shares.slice(0, threshold));
    try {
      return RootKey.of(bytes);
    } finally {
      bytes.fill(0);
    }
  }

  settle(): void {}

  #shares(): string[] {
    try {
      const names = readdirSync(this.#directory).filter((name) => SHARE_FILE.test(name));
      return names.sort().map((name) => readShare(join(this.#directory, name)));
    } catch (error) {
      if ((error as { code?: string }).code === 'sealed') throw error;
      const evidence = `${this.#directory}: ${(error as { code?: string }).code ?? 'unknown'}`;
      return fail('sealed', 'the folder of --root-shares cannot be read', { evidence, cause: error });
    }
  }
}

function readShare(path: string): string {
  const file = openSync(path, 'r');
  try {
    // SECURITY: checks the open file, not the path, so that the file cannot be exchanged in between.
    const exposure = exposureOf(fstatSync(file), process.getuid?.());
    if (exposure !== undefined) fail('sealed', `the share ${path} ${exposure}: ${SECRET_FILE_RULE}`);
    return readFileSync(file, 'utf8').trim().toLowerCase().replace(/\s+/g, ' ');
  } finally {
    closeSync(file);
  }
}
