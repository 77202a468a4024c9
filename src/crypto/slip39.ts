// Shamir shares in the words of SLIP-0039 (https://github.com/satoshilabs/slips/blob/master/slip-0039.md), held to its vectors.
// Own code: the library for it adds enumerable members to Array.prototype of the whole process. It must never name a word of a share in an error.
import { fail } from '../base/errors.ts';
import { equalBytes, hmacSha256, pbkdf2Sha256, randomBytes, secretKey } from './primitives.ts';
import { SLIP39_WORDS } from './slip39-words.ts';

const DIGEST_AT = 254;
const SECRET_AT = 255;
const DIGEST_BYTES = 4;
const CHECK_WORDS = 3;
const HEAD_WORDS = 4;
const FEWEST_WORDS = 20;
const WORD_BITS = 10;
const MOST_MEMBERS = 16;
const ROUNDS = 4;
const encoder = new TextEncoder();
const NUMBERS = new Map(SLIP39_WORDS.map((word, number) => [word, number]));

interface Share {
  readonly id: number;
  readonly extendable: number;
  readonly exponent: number;
  readonly group: number;
  readonly groupThreshold: number;
  readonly groupCount: number;
  readonly member: number;
  readonly threshold: number;
  readonly value: Uint8Array;
}

/** The set that a share belongs to, as its first two words: shares of one set can be combined. Not secret. @throws sealed */
export function setOf(share: string): string {
  decode(share);
  return wordsOf(share).slice(0, 2).join(' ');
}

/**
 * Splits a secret of an even number of at least 16 bytes into `count` shares, of which any `threshold` give it back.
 * @throws invalid_request
 */
export function splitSecret(secret: Uint8Array, threshold: number, count: number): string[] {
  const isPossible = threshold >= 1 && threshold <= count && count <= MOST_MEMBERS && (threshold > 1 || count === 1);
  if (!isPossible) fail('invalid_request', 'shares must be 1 of 1, or at least 2 of at most 16');
  const idBytes = randomBytes(2);
  const id = (((idBytes[0] ?? 0) << 8) | (idBytes[1] ?? 0)) & 0x7fff;
  const encrypted = feistel(secret, '', { id, extendable: 1, exponent: 0 }, [0, 1, 2, 3]);
  const head = { id, extendable: 1, exponent: 0, group: 0, groupThreshold: 1, groupCount: 1, threshold };
  return split(encrypted, threshold, count).map((value, member) => encode({ ...head, member, value }));
}

/** The secret of exactly as many shares of one set as are needed. @throws sealed */
export function combineShares(shares: readonly string[], passphrase = ''): Uint8Array {
  const decoded = shares.map(decode);
  const [first] = decoded;
  if (first === undefined) return refuse('there is no share');
  const same = ['id', 'extendable', 'exponent', 'groupThreshold', 'groupCount'] as const;
  if (decoded.some((share) => same.some((name) => share[name] !== first[name]) || share.value.length !== first.value.length))
    refuse('the shares are not of one set');
  const groups = Map.groupBy(decoded, ({ group }) => group);
  if (groups.size !== first.groupThreshold) refuse('the number of groups is not the threshold');
  const secrets = [...groups].map(([group, members]) => ({ x: group, y: groupSecret(members) }));
  return feistel(recover(secrets, first.groupThreshold), passphrase, first, [3, 2, 1, 0]);
}

function groupSecret(members: readonly Share[]): Uint8Array {
  const threshold = members[0]?.threshold ?? 0;
  if (members.some((one) => one.threshold !== threshold)) refuse('the shares are not of one set');
  if (new Set(members.map(({ member }) => member)).size !== members.length) refuse('a share is there twice');
  if (members.length !== threshold) refuse('the number of shares is not the threshold');
  return recover(
    members.map(({ member, value }) => ({ x: member, y: value })),
    threshold,
  );
}

interface Point {
  readonly x: number;
  readonly y: Uint8Array;
}

function split(secret: Uint8Array, threshold: number, count: number): Uint8Array[] {
  if (threshold === 1) return [secret];
  const random = randomBytes(secret.length - DIGEST_BYTES);
  const digest = new Uint8Array([...digestOf(random, secret), ...random]);
  const free = Array.from({ length: threshold - 2 }, (_, x) => ({ x, y: randomBytes(secret.length) }));
  const base: Point[] = [...free, { x: DIGEST_AT, y: digest }, { x: SECRET_AT, y: secret }];
  return Array.from({ length: count }, (_, x) => free[x]?.y ?? interpolate(base, x));
}

function recover(points: readonly Point[], threshold: number): Uint8Array {
  if (threshold === 1) return points[0]?.y ?? refuse('there is no share');
  const secret = interpolate(points, SECRET_AT);
  const digest = interpolate(points, DIGEST_AT);
  if (!equalBytes(digest.subarray(0, DIGEST_BYTES), digestOf(digest.subarray(DIGEST_BYTES), secret)))
    refuse('the shares do not fit together');
  return secret;
}

function digestOf(random: Uint8Array, secret: Uint8Array): Uint8Array {
  return hmacSha256(secretKey(random), secret).subarray(0, DIGEST_BYTES);
}

const EXP = new Uint8Array(255);
const LOG = new Uint8Array(256);
for (let i = 0, power = 1; i < 255; i++) {
  EXP[i] = power;
  LOG[power] = i;
  power ^= power << 1;
  if (power & 0x100) power ^= 0x11b;
}

/** Lagrange interpolation in GF(256), byte by byte. */
function interpolate(points: readonly Point[], x: number): Uint8Array {
  const known = points.find((point) => point.x === x);
  if (known !== undefined) return known.y;
  const logOf = (value: number) => LOG[value] as number;
  const all = points.reduce((sum, point) => sum + logOf(point.x ^ x), 0);
  const result = new Uint8Array(points[0]?.y.length ?? 0);
  for (const { x: at, y } of points) {
    const others = points.reduce((sum, other) => sum + (other.x === at ? 0 : logOf(other.x ^ at)), 0);
    const basis = (((all - logOf(at ^ x) - others) % 255) + 255) % 255;
    for (const [i, byte] of y.entries())
      if (byte !== 0) result[i] = (result[i] as number) ^ (EXP[(logOf(byte) + basis) % 255] as number);
  }
  return result;
}

/** The cipher of SLIP-0039; the order of the rounds decides whether it encrypts or decrypts. */
function feistel(
  input: Uint8Array,
  passphrase: string,
  { id, extendable, exponent }: Pick<Share, 'id' | 'extendable' | 'exponent'>,
  rounds: readonly number[],
): Uint8Array {
  const half = input.length / 2;
  let [left, right] = [input.slice(0, half), input.slice(half)];
  const prefix = extendable === 1 ? [] : [...encoder.encode('shamir'), id >> 8, id & 0xff];
  for (const round of rounds) {
    const password = new Uint8Array([round, ...encoder.encode(passphrase)]);
    const mask = pbkdf2Sha256(password, new Uint8Array([...prefix, ...right]), (10_000 << exponent) / ROUNDS, half);
    [left, right] = [right, left.map((byte, i) => byte ^ (mask[i] as number))];
  }
  return new Uint8Array([...right, ...left]);
}

function encode(share: Share): string {
  const { value } = share;
  const head =
    (BigInt((share.id << 5) | (share.extendable << 4) | share.exponent) << 20n) |
    BigInt((share.group << 16) | ((share.groupThreshold - 1) << 12) | ((share.groupCount - 1) << 8) | (share.member << 4) | (share.threshold - 1)); // biome-ignore format: one line
  const bits = value.length * 8;
  const padded = Math.ceil(bits / WORD_BITS) * WORD_BITS;
  const whole = (head << BigInt(padded)) | BigInt(`0x${Buffer.from(value).toString('hex')}`);
  const length = HEAD_WORDS + padded / WORD_BITS;
  const data = Array.from({ length }, (_, i) => Number((whole >> BigInt(WORD_BITS * (length - 1 - i))) & 1_023n));
  const check = polymod([...customization(share.extendable), ...data, 0, 0, 0]) ^ 1;
  const words = [...data, check >> 20, (check >> 10) & 1_023, check & 1_023];
  return words.map((number) => SLIP39_WORDS[number]).join(' ');
}

function decode(text: string): Share {
  const numbers = wordsOf(text).map((word) => NUMBERS.get(word) ?? refuse('a word is not in the list'));
  const valueBits = (numbers.length - HEAD_WORDS - CHECK_WORDS) * WORD_BITS;
  const padding = valueBits % 16;
  if (numbers.length < FEWEST_WORDS || padding > 8) refuse('its number of words is wrong');
  const whole = numbers.slice(0, HEAD_WORDS).reduce((sum, number) => (sum << 10n) | BigInt(number), 0n);
  const field = (at: number, bits: number) => Number((whole >> BigInt(at)) & ((1n << BigInt(bits)) - 1n));
  const extendable = field(24, 1);
  if (polymod([...customization(extendable), ...numbers]) !== 1) refuse('its checksum is wrong');
  const value = numbers.slice(HEAD_WORDS, -CHECK_WORDS).reduce((sum, number) => (sum << 10n) | BigInt(number), 0n);
  if (value >> BigInt(valueBits - padding) !== 0n) refuse('its padding is wrong');
  const groupThreshold = field(12, 4) + 1;
  const groupCount = field(8, 4) + 1;
  if (groupThreshold > groupCount) refuse('its group threshold is above the number of groups');
  return {
    id: field(25, 15),
    extendable,
    exponent: field(20, 4),
    group: field(16, 4),
    groupThreshold,
    groupCount,
    member: field(4, 4),
    threshold: field(0, 4) + 1,
    value: new Uint8Array(Buffer.from(value.toString(16).padStart((valueBits - padding) / 4, '0'), 'hex')),
  };
}

function wordsOf(text: string): string[] {
  return text.trim().toLowerCase().split(/\s+/);
}

function customization(extendable: number): Uint8Array {
  return encoder.encode(extendable === 1 ? 'shamir_extendable' : 'shamir');
}

const GENERATOR = [
  0xe0e040, 0x1c1c080, 0x3838100, 0x7070200, 0xe0e0009, 0x1c0c2412, 0x38086c24, 0x3090fc48, 0x21b1f890, 0x3f3f120,
];

/** The Reed-Solomon code RS1024. */
function polymod(values: readonly number[]): number {
  let check = 1;
  for (const value of values) {
    const top = check >> 20;
    check = ((check & 0xfffff) << 10) ^ value;
    for (const [i, part] of GENERATOR.entries()) if ((top >> i) & 1) check ^= part;
  }
  return check;
}

function refuse(what: string): never {
  return fail('sealed', `a share of the root key cannot be used: ${what}`);
}
