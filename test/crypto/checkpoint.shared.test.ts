import { describe, expect, it } from 'vitest';
import {
  type Checkpoint,
  isExportSigned,
  newSigner,
  signCheckpoint,
  signExport,
  signerFrom,
  verifyCheckpoint,
} from '../../src/crypto/checkpoint.ts';
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

  it('passes over what is not its own, also under its name or with its key id', () => {
    const [name, encoded] = signature.trimEnd().slice(2).split(' ') as [string, string];
    const blob = Buffer.from(encoded, 'base64');
    const garbage = Buffer.concat([blob.subarray(0, 4), Buffer.alloc(64)]).toString('base64');
    const otherId = Buffer.concat([Buffer.from([blob[0] as number, 0, 0, 0]), Buffer.alloc(64)]).toString('base64');
    expect(verifyCheckpoint(signer.vkey, `${note}— witness.example ${garbage}\n`)).toEqual(checkpoint);
    expect(verifyCheckpoint(signer.vkey, `${note}— ${name} ${otherId}\n`)).toEqual(checkpoint);
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, `${body}\n\n— ${name} ${otherId}\n`))).toBe(
      'integrity: no signature of this key',
    );
  });

  it('may have 32 signatures and 128 KiB, and no more', () => {
    const theirs = `— witness.example ${Buffer.alloc(8).toString('base64')}\n`;
    expect(verifyCheckpoint(signer.vkey, note + theirs.repeat(31))).toEqual(checkpoint);
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, note + theirs.repeat(32)))).toBe('integrity: malformed');
    const filled = (chars: number) => {
      const room = chars - note.length - '—  \n'.length;
      const blob = 'A'.repeat(4 * Math.floor((room - 1) / 4));
      return `${note}— ${'w'.repeat(room - blob.length)} ${blob}\n`;
    };
    expect(filled(128 * 1024)).toHaveLength(128 * 1024);
    expect(verifyCheckpoint(signer.vkey, filled(128 * 1024))).toEqual(checkpoint);
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, filled(128 * 1024 + 1)))).toBe('integrity: malformed');
  });

  it('says where the state of the cell is anchored, or nothing of it', () => {
    const anchored = { ...checkpoint, anchor: { epoch: 12, chain: sha256(utf8('chain')) } };
    const text = signCheckpoint(signer, anchored);
    expect(text.split('\n')[4]).toBe(`keyturn-anchor 12 ${Buffer.from(anchored.anchor.chain).toString('base64')}`);
    expect(verifyCheckpoint(signer.vkey, text)).toEqual(anchored);
    expect(Object.keys(verifyCheckpoint(signer.vkey, note))).not.toContain('anchor');
  });

  it('can state the empty tree and sizes up to 2^53 - 1', () => {
    const extreme = { ...checkpoint, size: 0, stateSequence: Number.MAX_SAFE_INTEGER, lowestKeyVersion: 0, at: 0 };
    const last = { ...checkpoint, at: Date.UTC(9999, 11, 31, 23, 59, 59, 999) };
    for (const one of [extreme, last]) expect(verifyCheckpoint(signer.vkey, signCheckpoint(signer, one))).toEqual(one);
  });
});

/** A verifier key whose id fits. */
function vkeyOf(name: string, type: number): string {
  const typed = Buffer.concat([Buffer.of(type), Buffer.from(signer.vkey.split('+').slice(2).join('+'), 'base64').subarray(1)]);
  const id = Buffer.from(sha256(Buffer.concat([utf8(`${name}\n`), typed])).slice(0, 4));
  return `${name}+${id.toString('hex')}+${typed.toString('base64')}`;
}

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
    ['another signature type under its own key id', vkeyOf(ORIGIN, 2)],
    ['a name that cannot stand in a note', vkeyOf('two words', 1)],
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
    ['a text without a Unicode form beside it', `${note}— \ud800 AAAAAAAA\n`],
    ['a control character beside it', `${note}— w\u0001 AAAAAAAA\n`],
    ['a signature that is no base64', `${note}— witness.example A\n`],
    ['a signature in another spelling', `${note}— witness.example AAAAAAB=\n`],
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
    ['a sequence past 2^53', replaced(3, 'keyturn-seq 9999999999999999')],
    ['a date that is none', replaced(6, 'keyturn-at 2026-13-01T00:00:00.000Z')],
    ['a name that cannot stand in a note', replaced(0, 'two words')],
    ['a chain in another base64 spelling', replaced(3, `${LINES[3]}\nkeyturn-anchor 1 ${'A'.repeat(42)}B=`)],
    ['an anchor past 2^53', replaced(3, `${LINES[3]}\nkeyturn-anchor 9999999999999999 ${'A'.repeat(43)}=`)],
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
  ['a negative sequence', { stateSequence: -1 }],
  ['a fraction of a key version', { lowestKeyVersion: 0.5 }],
  ['a negative instant', { at: -1 }],
  ['a negative anchor', { anchor: { epoch: -1, chain: new Uint8Array(32) } }],
  ['a short chain', { anchor: { epoch: 1, chain: new Uint8Array(31) } }],
  ['an instant past year 9999', { at: 253_402_300_800_000 }],
])('a checkpoint with %s is not signed', (_, change) => {
  expect(failureOf(() => signCheckpoint(signer, { ...checkpoint, ...change })).code).toBe('internal');
});

describe('a signed export', () => {
  const statement = { origin: ORIGIN, events: 7, lines: 9, sha256: sha256(utf8('lines')) };
  const signed = signExport(signer, statement);

  it('is of exactly what it states', () => {
    expect(isExportSigned(signer.vkey, signed, statement)).toBe(true);
    for (const change of [{ events: 8 }, { lines: 8 }, { sha256: sha256(utf8('other lines')) }, { origin: 'keyturn/other' }])
      expect(isExportSigned(signer.vkey, signed, { ...statement, ...change }), JSON.stringify(change)).toBe(false);
  });

  it('is signed by its log, and by no other key', () => {
    expect(failureOf(() => signExport(signer, { ...statement, origin: 'keyturn/other' })).code).toBe('internal');
    const other = signerFrom(madeUp('another seed'), ORIGIN);
    expect(isExportSigned(signer.vkey, signExport(other, statement), statement)).toBe(false);
    expect(isExportSigned(newSigner('keyturn/other').vkey, signed, statement)).toBe(false);
    expect(isExportSigned(signer.vkey, `${signed}junk\n`, statement)).toBe(false);
    expect(failureOf(() => isExportSigned('nonsense', signed, statement)).code).toBe('invalid_request');
  });

  it('is no checkpoint, and a checkpoint is no export', () => {
    expect(refusalOf(() => verifyCheckpoint(signer.vkey, signed))).toBe('integrity: malformed');
    expect(isExportSigned(signer.vkey, note, statement)).toBe(false);
  });
});
