// Root-key providers of a Node installation: a keyfile, or a passphrase with its header file.
// It must never read a key that other users can read, follow another user's link to it, or accept key-derivation costs out of bounds.
import { scryptSync } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { SecretValue } from '../base/secret-value.ts';
import { canonicalJson } from '../crypto/canonical-json.ts';
import { adoptKey, equalBytes, hmacSha256, KEY_BYTES, randomBytes } from '../crypto/primitives.ts';
import { RootKey, rootKeyFromText, rootKeyText } from '../crypto/root-key.ts';
import { syncDirectoryOf } from './durable-files.ts';

const OWNER_ONLY = 0o600;
const GROUP_WRITE = 0o020;
const OTHERS = 0o007;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;
const KEYFILE_MAX_BYTES = 256;

/** Creates a keyfile with a new root key, durable before it returns. @throws conflict if it exists; storage_unavailable */
export function createKeyfile(path: string): RootKey {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = openFile(path, flags, { EEXIST: ['conflict', 'the keyfile exists already'] });
  const bytes = randomBytes(KEY_BYTES);
  const line = Buffer.from(rootKeyText(bytes));
  try {
    fchmodSync(file, OWNER_ONLY);
    if (writeSync(file, line) !== line.byteLength) fail('storage_unavailable', 'the keyfile could not be written completely');
    fsyncSync(file);
    syncDirectoryOf(path);
    return RootKey.of(bytes);
  } finally {
    closeSync(file);
    line.fill(0);
    bytes.fill(0);
  }
}

/**
 * Follows a link of root or this user: Kubernetes mounts a secret as `root.key -> ..data/root.key`, root:fsGroup 0440.
 * @throws sealed if it is missing, another user's, accessible to others, or damaged
 */
export function readKeyfile(path: string): RootKey {
  refuseForeignLink(path);
  // O_NONBLOCK: a pipe in place of the keyfile must not block the start.
  const file = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK, {
    ENOENT: ['sealed', 'the keyfile does not exist: restore it from a copy'],
    ELOOP: ['sealed', 'the keyfile is a symbolic link to itself'],
    EACCES: ['sealed', 'the keyfile cannot be read by this user'],
  });
  const buffer = Buffer.alloc(KEYFILE_MAX_BYTES + 1);
  try {
    // SECURITY: checks the open file, not the path, so that the file cannot be exchanged in between.
    refuseExposed(file, [dirname(path), dirname(realpathSync(path))]);
    const count = readSync(file, buffer, 0, buffer.byteLength, 0);
    if (count > KEYFILE_MAX_BYTES) fail('sealed', `the keyfile is damaged: it must have at most ${KEYFILE_MAX_BYTES} bytes`);
    return rootKeyFromText(buffer.toString('latin1', 0, count));
  } finally {
    closeSync(file);
    buffer.fill(0);
  }
}

/** SECURITY: a user who can create a link in a folder such as /tmp could choose the file that is used as the key. */
function refuseForeignLink(path: string): void {
  const link = lstatSync(path, { throwIfNoEntry: false });
  if (link?.isSymbolicLink() === true && !isOwn(link))
    fail('sealed', 'the keyfile must not be a symbolic link that another user created');
}

/** Owned by this user or by root, who could read and replace it anyway. */
function isOwn(file: Stats): boolean {
  const user = process.getuid?.();
  return user === undefined || file.uid === user || file.uid === 0;
}

function refuseExposed(descriptor: number, directories: readonly string[]): void {
  let file = fstatSync(descriptor);
  if (!file.isFile()) fail('sealed', 'the keyfile must be a regular file');
  if (!isOwn(file)) fail('sealed', 'the keyfile must be owned by the user that runs this process, or by root');
  if ((file.mode & (GROUP_WRITE | OTHERS)) === GROUP_WRITE && file.uid === process.getuid?.()) {
    // On a volume with fsGroup the group gets read and write access at every mount. A changed key would not match the data.
    fchmodSync(descriptor, file.mode & 0o777 & ~GROUP_WRITE);
    file = fstatSync(descriptor);
  }
  const exposure = exposureOf(file, process.getuid?.());
  if (exposure !== undefined)
    fail('sealed', `the keyfile must not be accessible to others, but it ${exposure}: ${SECRET_FILE_RULE}`);
  const isOpen = (directory: Stats) => (directory.mode & OTHERS_WRITE) !== 0 && (directory.mode & STICKY) === 0;
  if (directories.some((directory) => isOpen(statSync(directory))))
    fail('sealed', "the keyfile's folder must not be writable by everyone");
}

function openFile(
  path: string,
  flags: number,
  known: Readonly<Record<string, readonly ['conflict' | 'sealed', string]>>,
): number {
  try {
    return openSync(path, flags, OWNER_ONLY);
  } catch (error) {
    const [code, detail] = known[(error as NodeJS.ErrnoException).code ?? ''] ?? [
      'storage_unavailable',
      'the keyfile cannot be opened',
    ];
    throw new KeyturnError(code, detail, { evidence: `${path}: ${(error as NodeJS.ErrnoException).code}`, cause: error });
  }
}

/**
 * How the root key is derived from a passphrase. Canonical JSON (RFC 8785) of
 * `{format, kdf, n, r, p, salt, mac}`; `mac` is HMAC-SHA-256 over the same JSON without it. salt and mac are base64url.
 *
 *     derived = scrypt(passphrase, salt, n, r, p, 64)      root key = derived[0..32], MAC key = derived[32..64]
 */
interface HeaderBody {
  readonly format: 'keyturn-passphrase-v1';
  readonly kdf: 'scrypt';
  readonly n: number;
  readonly r: number;
  readonly p: number;
  readonly salt: string;
}

const PASSPHRASE_MIN_BYTES = 15;
const SALT_BYTES = 32;
const HEADER_MAX_CHARS = 1_024;
/** The costs of new headers, and the minimum for existing ones (ASVS 5.0 V11.4: N=2^17, r=8, p=1). */
const COST = { n: 2 ** 17, r: 8, p: 1 } as const;
/** The maximum for existing headers: 1 GiB of memory. */
const COST_MAX = { n: 2 ** 20, r: 8, p: 4 } as const;
const SCRYPT_SLACK_BYTES = 1024 * 1024;
const BASE64URL_32 = /^[A-Za-z0-9_-]{43}$/;

/** Takes about half a second and 128 MiB. Store the header; it is not secret. @throws invalid_request for a short passphrase */
export function createPassphraseHeader(passphrase: SecretValue): { header: string; root: RootKey } {
  if (passphrase.byteLength < PASSPHRASE_MIN_BYTES) {
    fail('invalid_request', `a passphrase must have at least ${PASSPHRASE_MIN_BYTES} bytes`, { pointer: '/passphrase' });
  }
  const salt = Buffer.from(randomBytes(SALT_BYTES)).toString('base64url');
  const body: HeaderBody = { format: 'keyturn-passphrase-v1', kdf: 'scrypt', ...COST, salt };
  const { root, mac } = stretch(passphrase, body);
  return { header: canonicalJson({ ...body, mac: Buffer.from(mac).toString('base64url') }), root };
}

/** @throws sealed for a wrong passphrase, and for an invalid header before any derivation */
export function openPassphrase(header: string, passphrase: SecretValue): RootKey {
  const { mac: stated, ...body } = parseHeader(header);
  const { root, mac } = stretch(passphrase, body);
  if (!equalBytes(mac, Buffer.from(stated, 'base64url'))) fail('sealed', 'the passphrase is wrong');
  return root;
}

// SECURITY: bounds are checked before the derivation, so that a changed header can neither weaken it nor exhaust memory (CR-11).
function parseHeader(header: string): HeaderBody & { readonly mac: string } {
  const found = membersOf(header);
  const texts = found?.format === 'keyturn-passphrase-v1' && found.kdf === 'scrypt';
  if (found === undefined || !texts || !isBase64url32(found.salt) || !isBase64url32(found.mac))
    return fail('sealed', 'the passphrase header is damaged');
  for (const cost of ['n', 'r', 'p'] as const) {
    const value = found[cost];
    const inBounds = Number.isInteger(value) && value >= COST[cost] && value <= COST_MAX[cost];
    if (!inBounds) fail('sealed', `the passphrase header's ${cost} is out of bounds`);
  }
  if (!Number.isInteger(Math.log2(found.n))) fail('sealed', "the passphrase header's n is out of bounds");
  return found;
}

/** Undefined unless the header is canonical JSON, which also rejects unknown, repeated and missing members. */
function membersOf(header: string): (HeaderBody & { readonly mac: string }) | undefined {
  if (header.length > HEADER_MAX_CHARS) return undefined;
  try {
    const { format, kdf, n, r, p, salt, mac } = JSON.parse(header) as HeaderBody & { mac: string };
    const found = { format, kdf, n, r, p, salt, mac };
    return header.replace(/\n$/, '') === canonicalJson(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function isBase64url32(text: unknown): boolean {
  return typeof text === 'string' && BASE64URL_32.test(text) && Buffer.from(text, 'base64url').toString('base64url') === text;
}

function stretch(passphrase: SecretValue, body: HeaderBody): { root: RootKey; mac: Uint8Array } {
  const { n, r, p } = body;
  const maxmem = 128 * r * (n + p) + SCRYPT_SLACK_BYTES;
  const derived = passphrase.reveal((bytes) =>
    scryptSync(bytes, Buffer.from(body.salt, 'base64url'), 2 * KEY_BYTES, { N: n, r, p, maxmem }),
  );
  const root = RootKey.of(derived.subarray(0, KEY_BYTES));
  const macKey = adoptKey(derived.subarray(KEY_BYTES));
  derived.fill(0);
  return { root, mac: hmacSha256(macKey, new TextEncoder().encode(canonicalJson(body))) };
}

/** The file's text, without a trailing newline. @throws sealed if it cannot be read or other users have access to it */
export function readPassphrase(path: string): SecretValue {
  let file: number | undefined;
  let exposure: string | undefined;
  let passphrase: SecretValue;
  try {
    file = openSync(path, 'r');
    // SECURITY: checks the open file, not the path, so that the file cannot be exchanged in between. A pipe stores nothing.
    const stats = fstatSync(file);
    exposure = stats.isFile() ? exposureOf(stats, process.getuid?.()) : undefined;
    passphrase = SecretValue.fromText(readFileSync(file, 'utf8').replace(/\r?\n$/, ''));
  } catch (error) {
    const evidence = `${path}: ${(error as { code?: string }).code ?? 'unknown'}`;
    return fail('sealed', 'the passphrase file cannot be read', { evidence, cause: error });
  } finally {
    if (file !== undefined) closeSync(file);
  }
  if (exposure !== undefined) fail('sealed', `the passphrase file ${exposure}: ${SECRET_FILE_RULE}`, { evidence: path });
  return passphrase;
}
