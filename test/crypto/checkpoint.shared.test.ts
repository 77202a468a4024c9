import { describe, expect, it } from 'vitest';
import { type Checkpoint, newSigner, signCheckpoint, signerFrom, verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { ed25519Private, ed25519Sign, sha256 } from '../../src/crypto/primitives.ts';
import { failureOf, flipBit, madeUp, refusalOf, utf8 } from './fixtures.ts';

const ORIGIN = 'keyturn/ins_0123456789abcdefghjkmnpq/ten_0123456789abcdefghjkmnpq';
const signer = signerFrom(madeUp('log seed'), ORIGIN);
const checkpoint: Checkpoint = {
  origin: ORIGIN,
  size: 20852163,
  root: sha256(utf8('root')),
  stateSequence: 41,
  lowestKeyVersion: 3,
  incarnation: 'inc_0123456789abcdefghjkmnpq',
  at: Date.UTC(2026, 5, 7, 8, 9, 10, 11),
};
const note = signCheckpoint(signer, checkpoint);
const [body, signature] = note.split('\n\n') as [string, string];

/** Signs any text with the key of this log, to test that a verifier refuses malformed checkpoints. */
function signText(text: string): string {
  const keyId = Buffer.from(signer.vkey.split('+')[1] as string, 'hex');
  const blob = Buffer.concat([keyId, ed25519Sign(ed25519Private(madeUp('log seed')), utf8(text))]);
  return `${text}\n— ${ORIGIN} ${blob.toString('base64')}\n`;
}

describe('a signed checkpoint', () => {
  it('verifies and parses to the signed values', () => {
    expect(verifyCheckpoint(signer.vkey, note)).toEqual(checkpoint);
  });

  it('is a C2SP note with the log as origin and key name', () => {
    expect(body.split('\n')).toEqual([
      ORIGIN,
      '20852163',
      Buffer.from(checkpoint.root).toString('base64'),
      'keyturn-seq 41',
      'keyturn-incarnation inc_0123456789abcdefghjkmnpq',
      'keyturn-min-key-version 3',
      'keyturn-at 2026-06-07T08:09:10.011Z',
    ]);
    expect(signature).toMatch(/^— \S+ [A-Za-z0-9+/]+=*\n$/u);
  });

  it('verifies beside signatures of witnesses, which have another name or key', () => {
    const witness = newSigner('witness.example/w1');
    const theirs = signCheckpoint(signerFrom(madeUp('another seed'), ORIGIN), checkpoint).split('\n\n')[1] as string;
    const cosigned = `${note}${theirs}— ${witness.name} ${Buffer.alloc(80).toString('base64')}\n`;
    expect(verifyCheckpoint(signer.vkey, cosigned)).toEqual(checkpoint);
    expect(verifyCheckpoint(signer.vkey, `${body}\n\n${theirs}${signature}`)).toEqual(checkpoint);
  });

  it('can state the empty tree and sizes up to 2^53 - 1', () => {
    const extreme = { ...checkpoint, size: 0, stateSequence: Number.MAX_SAFE_INTEGER, lowestKeyVersion: 0, at: 0 };
    expect(verifyCheckpoint(signer.vkey, signCheckpoint(signer, extreme))).toEqual(extreme);
  });
});

describe('the verifier key', () => {
  // Made by another implementation of the specification (hex.pm/packages/signed_note, documentation).
  const EXAMPLE_VKEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
  const EXAMPLE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;

  it('of another implementation parses, and its note is refused only because it is not a checkpoint', () => {
    expect(refusalOf(() => verifyCheckpoint(EXAMPLE_VKEY, EXAMPLE))).toBe('integrity: malformed');
    expect(refusalOf(() => verifyCheckpoint(EXAMPLE_VKEY, EXAMPLE.replace('This', 'this')))).toBe('integrity: bad signature');
  });

  it('is the same for the same seed and name', () => {
    const made = newSigner('log.example/a');
    expect(made.seed.reveal((seed) => signerFrom(seed, 'log.example/a').vkey)).toBe(made.vkey);
    expect(made.seed.reveal((seed) => signerFrom(seed, 'log.example/b').vkey)).not.toBe(made.vkey);
    expect(newSigner('log.example/a').vkey).not.toBe(made.vkey);
  });

  it.each([
    ['no parts', 'nonsense'],
    ['another key id', signer.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')],
    ['another name', `x${signer.vkey}`],
    ['upper-case hex', signer.vkey.replace(/\+[0-9a-f]{8}\+/, (id) => id.toUpperCase())],
    ['a trailing newline', `${signer.vkey}\n`],
    ['another signature type', signer.vkey.replace(/(\+[0-9a-f]{8}\+)A/, '$1B')],
  ])('is refused with %s', (_, vkey) => {
    expect(vkey).not.toBe(signer.vkey);
    expect(failureOf(() => verifyCheckpoint(vkey, note)).code).toBe('invalid_request');
  });

  it.each(['', 'two words', 'a+b', 'tab\tname', 'line\nbreak', 'no\u00a0break', 'x'.repeat(257)])(
    'cannot carry the name %j',
    (name) => {
      expect(failureOf(() => signerFrom(madeUp('log seed'), name)).code).toBe('internal');
    },
  );
});

describe('a changed note', () => {
  it('fails for every flipped bit of its text', () => {
    const bytes = utf8(body);
    for (let bit = 0; bit < bytes.byteLength * 8; bit++) {
      const changed = Buffer.from(flipBit(bytes, bit)).toString('latin1');
      expect(failureOf(() => verifyCheckpoint(signer.vkey, `${changed}\n\n${signature}`)).code, `bit ${bit}`).toBe('integrity');
    }
  });

  it('fails for every flipped bit of its signature', () => {
    const [name, encoded] = [signature.slice(0, signature.lastIndexOf(' ')), signature.trimEnd().split(' ').at(-1) as string];
    const blob = Uint8Array.from(Buffer.from(encoded, 'base64'));
    for (let bit = 0; bit < blob.byteLength * 8; bit++) {
      const changed = Buffer.from(flipBit(blob, bit)).toString('base64');
      const refusal = refusalOf(() => verifyCheckpoint(signer.vkey, `${body}\n\n${name} ${changed}\n`));
      expect(refusal, `bit ${bit}`).toBe(bit < 32 ? 'integrity: no signature of this key' : 'integrity: bad signature');
    }
  });

  it('is refused when one signature of the key fails, although another one is valid', () => {
    const forged = signature.replace(/.{8}\n$/, 'AAAAAAA=\n');
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, note + forged))).toBe('integrity: bad signature');
  });

  it.each([
    ['a cut newline', note.slice(0, -1)],
    ['another end than a newline', `${note.slice(0, -1)}x`],
    ['no signature', `${body}\n`],
    ['a signature shorter than a key id', `${note}— witness.example ${Buffer.alloc(3).toString('base64')}\n`],
    ['a key id without a signature', `${note}— witness.example ${Buffer.alloc(4).toString('base64')}\n`],
    ['no blank line', `${body}\n${signature}`],
    ['a carriage return', note.replace('\n', '\r\n')],
    ['a hyphen for the dash', note.replace('—', '-')],
    ['another base64 spelling', note.replace(/=\n$/, '\n')],
    ['junk after the signature', `${note}junk\n`],
    ['more signatures than it reads', note + signature.repeat(32)],
    ['more text than it reads', `${'x'.repeat(128 * 1024)}\n${note}`],
    ['nothing', ''],
  ])('is malformed with %s', (_, changed) => {
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, changed))).toBe('integrity: malformed');
  });

  const LINES = body.split('\n');
  const replaced = (index: number, line: string) => `${LINES.with(index, line).join('\n')}\n`;
  it.each([
    ['a leading zero', replaced(1, '020852163')],
    ['a sign', replaced(1, '+1')],
    ['a size past 2^53', replaced(1, '9007199254740993')],
    ['a short root', replaced(2, 'AAAA')],
    ['a root in another base64 spelling', replaced(2, `${(LINES[2] as string).slice(0, 42)}x=`)],
    ['a missing extension', `${LINES.slice(0, 6).join('\n')}\n`],
    ['an unknown extension', `${body}\nkeyturn-new 1\n`],
    ['extensions in another order', `${[...LINES.slice(0, 4), LINES[5], LINES[4], LINES[6]].join('\n')}\n`],
    ['an impossible date', replaced(6, 'keyturn-at 2026-02-30T00:00:00.000Z')],
    ['a date without milliseconds', replaced(6, 'keyturn-at 2026-06-07T08:09:10Z')],
  ])('is malformed with %s, though signed', (_, text) => {
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, signText(text)))).toBe('integrity: malformed');
  });

  it('is refused when its origin is another log, although this log signed it', () => {
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, signText(replaced(0, 'keyturn/other'))))).toBe(
      'integrity: another origin',
    );
  });
});

it.each([
  ['another origin', { origin: 'keyturn/other' }],
  ['a negative size', { size: -1 }],
  ['a fraction', { stateSequence: 1.5 }],
  ['a short root', { root: new Uint8Array(31) }],
  ['a line break in the incarnation', { incarnation: 'inc\nkeyturn-seq 9' }],
  ['an instant past year 9999', { at: 253_402_300_800_000 }],
])('a checkpoint with %s is not signed', (_, change) => {
  expect(failureOf(() => signCheckpoint(signer, { ...checkpoint, ...change })).code).toBe('internal');
});
