// What the verifier says of an export, member by member: a log of ten events made by hand, exported in every way, with every line in its power.
import { describe, expect, it } from 'vitest';
import { lineBytes } from '../../src/audit/export-lines.ts';
import { ExportVerifier, type VerifyOptions, type VerifyResult } from '../../src/audit/verify-export.ts';
import { newSigner, signCheckpoint, signExport } from '../../src/crypto/checkpoint.ts';
import { leafHash, rootOf } from '../../src/crypto/merkle.ts';
import { RunningSha256 } from '../../src/crypto/primitives.ts';

const ORIGIN = 'keyturn/ins_a/ten_b';
const signer = newSigner(ORIGIN);
const other = newSigner('keyturn/ins_a/ten_c');
const AT_MS = 1_700_000_000_000;
const LOG = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

const text = (index: number, edit = '') => `{"action":"x${edit}","index":${index}}`;
const leaf = (index: number, edit = '') => leafHash(Buffer.from(text(index, edit)));
const written = (line: Parameters<typeof lineBytes>[0]) => Buffer.from(lineBytes(line)).toString();

const header = (size: number, range?: { from: number; to: number }, of = signer) =>
  written({ kind: 'header', origin: ORIGIN, size, verifierKey: of.vkey, range });
const events = (...indexes: readonly number[]) => indexes.map((index) => text(index));
/** Stated hashes of `count` events from `first`; those in `edited` are of other events. */
const leaves = (first: number, count: number, ...edited: readonly number[]) => {
  const hashes = LOG.slice(first, first + count).map((index) => leaf(index, edited.includes(index) ? 'edited' : ''));
  return written({ kind: 'leaves', first, hashes: Buffer.concat(hashes) });
};
/** A signed head over the first `size` events, of which those in `edited` were others. */
const note = (size: number, edited: readonly number[] = [], by = signer) =>
  signCheckpoint(by, {
    origin: by.name,
    size,
    root: rootOf(LOG.slice(0, size).map((index) => leaf(index, edited.includes(index) ? 'edited' : ''))),
    stateSequence: size,
    lowestKeyVersion: 1,
    incarnation: 'inc_1',
    at: AT_MS + size,
  });
const head = (...of: Parameters<typeof note>) => written({ kind: 'checkpoint', note: note(...of) });

/** The lines with a closing line that is signed over exactly them. */
function closed(lines: readonly string[], by = signer): string[] {
  const sha256 = new RunningSha256().add(Buffer.from(lines.map((line) => `${line}\n`).join(''))).digest();
  const count = lines.filter((line) => line.startsWith('{"action"')).length;
  const statement = { origin: by.name, events: count, lines: lines.length, sha256 };
  return [...lines, written({ kind: 'end', note: signExport(by, statement) })];
}

function verify(lines: readonly (string | Uint8Array)[], options: VerifyOptions = {}): VerifyResult {
  const verifier = new ExportVerifier(options);
  for (const line of lines) verifier.push(line);
  return verifier.finish();
}

const ALL = [header(10), ...events(...LOG), leaves(0, 10), head(10)];
const headOf = (size: number, from: 'export' | 'outside' = 'export') => ({ size, atMs: AT_MS + size, from, anchored: false });
const WHOLE = {
  ok: true,
  verdict: 'whole',
  origin: ORIGIN,
  key: 'export',
  events: 10,
  checkpoints: 1,
  head: headOf(10),
  covered: [{ from: 0, to: 9 }],
  unproven: [],
  uncovered: 0,
  closing: 'signed',
  findings: [],
} as const satisfies VerifyResult;

/** Of a finding: kind, range and, where the case names it, a part of what it says. */
type Told = readonly [kind: string, from: number, to: number, says?: string];
interface Case {
  readonly what: string;
  readonly lines: readonly string[];
  readonly options?: VerifyOptions;
  readonly result: Partial<Omit<VerifyResult, 'findings'>>;
  readonly told?: readonly Told[];
}

const ALTERED = { ok: false, verdict: 'altered' } as const;
const OPEN = { ok: false, verdict: 'incomplete', closing: 'missing' } as const;
const unproven = (from: number, to: number, why: VerifyResult['unproven'][number]['why']) => ({ from, to, why });

const CASES: readonly Case[] = [
  // ---- whole, or nearly
  { what: 'an untouched export', lines: closed(ALL), result: {} },
  { what: 'with the key', lines: closed(ALL), options: { verifierKey: signer.vkey }, result: { key: 'pinned' } },
  {
    what: 'with the same head from outside: that of the export is named',
    lines: closed(ALL),
    options: { checkpoints: [note(10)] },
    result: { checkpoints: 2 },
  },
  {
    what: 'whose newest head is from outside',
    lines: closed([header(10), ...events(...LOG), leaves(0, 10), head(4)]),
    options: { checkpoints: [note(10)] },
    result: { checkpoints: 2, head: headOf(10, 'outside') },
    told: [],
  },
  { what: 'without stated hashes', lines: closed(ALL.toSpliced(11, 1)), result: {} },
  { what: 'without a closing line', lines: ALL, result: OPEN },
  {
    what: 'of a log without an event',
    lines: closed([header(0)]),
    result: { ok: false, verdict: 'incomplete', events: 0, checkpoints: 0, head: undefined, covered: [] },
  },
  {
    what: 'with events after the newest head',
    lines: closed([header(10), ...events(...LOG), leaves(0, 10), head(7)]),
    result: {
      ...OPEN,
      closing: 'signed',
      head: headOf(7),
      covered: [{ from: 0, to: 6 }],
      unproven: [unproven(7, 9, 'after_last_head')],
      uncovered: 3,
    },
  },
  {
    what: 'with more events than its header says, though header and head agree',
    lines: closed([header(7), ...events(...LOG), leaves(0, 10), head(7)]),
    result: {
      ...OPEN,
      closing: 'signed',
      head: headOf(7),
      covered: [{ from: 0, to: 6 }],
      unproven: [unproven(7, 9, 'after_last_head')],
      uncovered: 3,
    },
  },
  {
    what: 'with more events than its header says, though all are under a head',
    lines: closed([header(7), ...events(...LOG), leaves(0, 10), head(10)]),
    result: { ...OPEN, closing: 'signed' },
  },
  {
    what: 'without a head',
    lines: [header(10), ...events(...LOG)],
    result: {
      ...OPEN,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 9, 'no_signed_head')],
      uncovered: 10,
    },
  },
  {
    what: 'of one event without a head',
    lines: closed([header(1), text(0)]),
    result: {
      ...OPEN,
      events: 1,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 0, 'no_signed_head')],
      uncovered: 1,
      closing: 'signed',
    },
  },
  {
    what: 'of a range without a head',
    lines: closed([header(1), text(0)]),
    options: { range: { from: 0, to: 0 } },
    result: {
      ...OPEN,
      events: 1,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 0, 'no_signed_head')],
      uncovered: 1,
      closing: 'signed',
    },
  },
  // ---- lines
  {
    what: 'that is empty',
    lines: [],
    result: { ...ALTERED, origin: '', events: 0, checkpoints: 0, head: undefined, covered: [], closing: 'missing' },
    told: [['malformed', 0, 0, 'the export has no header line']],
  },
  {
    what: 'with a line after the closing line',
    lines: [...closed(ALL), text(3)],
    result: ALTERED,
    told: [['malformed', 10, 10, 'the export has a line after the closing line']],
  },
  {
    what: 'with an empty line at its end',
    lines: [...closed(ALL), ''],
    result: ALTERED,
    told: [['malformed', 10, 10, 'the export has a line after the closing line']],
  },
  {
    what: 'with two empty lines at its end',
    lines: [...closed(ALL), '', ''],
    result: ALTERED,
    told: [
      ['malformed', 10, 10, 'the export has a line after the closing line'],
      ['malformed', 10, 10, 'the export has a line after the closing line'],
    ],
  },
  {
    what: 'with an empty line between others',
    lines: closed(ALL).toSpliced(3, 0, ''),
    result: { ...ALTERED, closing: 'does_not_fit' },
    told: [['malformed', 2, 2, 'the line after event 1 is not a line of an export']],
  },
  {
    what: 'with a line that is none',
    lines: closed(ALL.toSpliced(5, 0, 'x')),
    result: ALTERED,
    told: [['malformed', 4, 4, 'the line after event 3 is not a line of an export']],
  },
  {
    what: 'whose first line is none',
    lines: ['x', ...ALL],
    result: { ...ALTERED, closing: 'missing' },
    told: [['malformed', 0, 0, 'the line after event none is not a line of an export']],
  },
  {
    what: 'without its header',
    lines: ALL.slice(1),
    options: { verifierKey: signer.vkey },
    result: { ...ALTERED, origin: '', key: 'pinned', closing: 'missing' },
    told: [
      ...ALL.slice(1).map(
        (_, i): Told => ['malformed', Math.min(10, i), Math.min(10, i), 'the export has a line before its header line'],
      ),
      ['malformed', 0, 0, 'the export has no header line'],
    ],
  },
  {
    what: 'without its header and its key: nothing can be checked',
    lines: [...events(0, 1), leaves(0, 4), head(2)],
    result: {
      ...ALTERED,
      origin: '',
      events: 2,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 1, 'no_signed_head'), unproven(2, 3, 'missing')],
      uncovered: 2,
      closing: 'missing',
    },
    told: [
      ['malformed', 0, 0],
      ['malformed', 1, 1],
      ['malformed', 2, 2],
      ['malformed', 2, 2],
      ['malformed', 0, 0],
      ['bad_signature', 0, 0],
      ['cut_tail', 2, 3],
    ],
  },
  {
    what: 'with a second header, which is not believed',
    lines: closed([...ALL.slice(0, 1), header(20, { from: 3, to: 4 }, other), ...ALL.slice(1)]),
    result: ALTERED,
    told: [['malformed', 0, 0, 'the export has a second header line']],
  },
  // ---- events that are missing, doubled or out of place
  {
    what: 'with an event missing in front',
    lines: closed(ALL.toSpliced(1, 1)),
    result: { ...ALTERED, events: 9, covered: [{ from: 1, to: 9 }], unproven: [unproven(0, 0, 'missing')] },
    told: [['deleted', 0, 0, 'events 0..0 are missing']],
  },
  {
    what: 'with events missing at two places',
    lines: closed([header(10), ...events(0, 3, 4, 6, 7, 8, 9), leaves(0, 10), head(10)]),
    result: {
      ...ALTERED,
      events: 7,
      covered: [{ from: 0, to: 0 }, { from: 3, to: 4 }, { from: 6, to: 9 }], // biome-ignore format: one line
      unproven: [unproven(1, 2, 'missing'), unproven(5, 5, 'missing')],
    },
    told: [
      ['deleted', 1, 2],
      ['deleted', 5, 5],
    ],
  },
  {
    what: 'with an event and its hash missing: what comes after cannot be proven',
    lines: [header(10), ...events(0, 1, 2, 4, 5, 6, 7, 8, 9), head(2), head(10)],
    result: {
      ...ALTERED,
      events: 9,
      checkpoints: 2,
      head: headOf(2),
      covered: [{ from: 0, to: 1 }],
      unproven: [unproven(2, 2, 'head_does_not_fit'), unproven(3, 3, 'missing'), unproven(4, 9, 'unknown_hashes')],
      uncovered: 7,
      closing: 'missing',
    },
    told: [['deleted', 3, 3]],
  },
  {
    what: 'with an event twice: the first is the one that counts',
    lines: closed([...ALL.slice(0, 6), text(4, 'edited'), ...ALL.slice(6)]),
    result: { ...ALTERED, events: 11 },
    told: [['duplicated', 4, 4, 'event 4 is present more than once']],
  },
  {
    what: 'with two events in the other order',
    lines: closed([header(10), ...events(0, 1, 3, 2, 4, 5, 6, 7, 8, 9), leaves(0, 10), head(10)]),
    result: ALTERED,
    told: [['reordered', 2, 2, 'event 2 comes after event 3']],
  },
  {
    what: 'with its events backwards',
    lines: closed([header(10), ...events(...LOG.toReversed()), leaves(0, 10), head(10)]),
    result: ALTERED,
    told: LOG.toReversed()
      .slice(1)
      .map((index): Told => ['reordered', index, index, 'after event 9']),
  },
  // ---- a tail that was cut off
  {
    what: 'without its last event',
    lines: closed(ALL.toSpliced(10, 1)),
    result: { ...ALTERED, events: 9, covered: [{ from: 0, to: 8 }], unproven: [unproven(9, 9, 'missing')] },
    told: [['cut_tail', 9, 9, 'events 9..9 were cut off']],
  },
  {
    what: 'without any event',
    lines: [header(3)],
    result: {
      ...ALTERED,
      events: 0,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 2, 'missing')],
      closing: 'missing',
    },
    told: [['cut_tail', 0, 2]],
  },
  {
    what: 'whose hashes go further than its events and its header',
    lines: closed([header(5), ...events(0, 1, 2, 3, 4), leaves(0, 7), head(5)]),
    result: {
      ...ALTERED,
      events: 5,
      head: headOf(5),
      covered: [{ from: 0, to: 4 }],
      unproven: [unproven(5, 6, 'missing')],
    },
    told: [['cut_tail', 5, 6]],
  },
  {
    what: 'whose hashes go further in an earlier line than in the last one',
    lines: closed([header(5), leaves(0, 7), ...events(0, 1, 2, 3, 4), leaves(0, 5), head(5)]),
    result: {
      ...ALTERED,
      events: 5,
      head: headOf(5),
      covered: [{ from: 0, to: 4 }],
      unproven: [unproven(5, 6, 'missing')],
    },
    told: [['cut_tail', 5, 6]],
  },
  {
    what: 'whose own head speaks of more than its header',
    lines: closed([header(5), ...events(0, 1, 2, 3, 4), head(8), head(5)]),
    result: {
      ...ALTERED,
      events: 5,
      checkpoints: 2,
      head: headOf(5),
      covered: [{ from: 0, to: 4 }],
      unproven: [unproven(5, 7, 'missing')],
    },
    told: [['cut_tail', 5, 7]],
  },
  {
    what: 'shorter than a head from outside',
    lines: closed([header(5), ...events(0, 1, 2, 3, 4), head(5)]),
    options: { checkpoints: [note(9), note(6)] },
    result: {
      ...ALTERED,
      events: 5,
      checkpoints: 3,
      head: headOf(5),
      covered: [{ from: 0, to: 4 }],
      unproven: [unproven(5, 8, 'missing')],
    },
    told: [['rolled_back', 5, 8, 'a signed head covers 9 events, but the export ends before event 5: events 5..8 were cut off']],
  },
  {
    what: 'without an event, where a head from outside speaks of some',
    lines: closed([header(0)]),
    options: { checkpoints: [note(3)] },
    result: { ...ALTERED, events: 0, head: undefined, covered: [], unproven: [unproven(0, 2, 'missing')] },
    told: [['rolled_back', 0, 2, 'the export ends before event 0']],
  },
  // ---- keys and heads
  {
    what: 'of another key than the one given',
    lines: closed(ALL),
    options: { verifierKey: newSigner(ORIGIN).vkey },
    result: {
      ...ALTERED,
      key: 'pinned',
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 9, 'no_signed_head')],
      uncovered: 10,
      closing: 'does_not_fit',
    },
    told: [
      ['wrong_log', 0, 0, 'the verifier key in the export is not the given verifier key'],
      ['bad_signature', 0, 0, 'a checkpoint in the export is not signed by this log'],
    ],
  },
  {
    what: 'that names the key of another log',
    lines: closed([header(10, undefined, other), ...ALL.slice(1, 12), head(10, [], other)], other),
    options: { verifierKey: other.vkey },
    result: { ...ALTERED, key: 'pinned', closing: 'does_not_fit' },
    told: [['wrong_log', 0, 0, 'the verifier key belongs to another log']],
  },
  {
    what: 'with a head from outside that another log signed',
    lines: closed(ALL),
    options: { checkpoints: [note(10, [], other)] },
    result: ALTERED,
    told: [['bad_signature', 0, 0, 'a checkpoint from outside is not signed by this log']],
  },
  {
    what: 'that names no key',
    lines: [written({ kind: 'header', origin: ORIGIN, size: 1, verifierKey: '', range: undefined }), text(0), head(1)],
    result: {
      ...ALTERED,
      events: 1,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 0, 'no_signed_head')],
      uncovered: 1,
      closing: 'missing',
    },
    told: [
      ['wrong_log', 0, 0],
      ['bad_signature', 0, 0, 'the verifier key is malformed'],
    ],
  },
  // ---- hashes
  {
    what: 'with an edited event, beside its hash',
    lines: closed(ALL.with(4, text(3, 'edited'))),
    result: {
      ...ALTERED,
      covered: [{ from: 0, to: 2 }, { from: 4, to: 9 }], // biome-ignore format: one line
      unproven: [unproven(3, 3, 'edited')],
      uncovered: 1,
    },
    told: [['edited', 3, 3, 'event 3 differs from the logged event']],
  },
  {
    what: 'with an edited event, where only some hashes are stated',
    lines: closed([header(10), ...events(0, 1, 2), text(3, 'edited'), ...events(4, 5, 6, 7, 8, 9), leaves(3, 2), head(10)]),
    result: {
      ...ALTERED,
      covered: [{ from: 0, to: 2 }, { from: 4, to: 9 }], // biome-ignore format: one line
      unproven: [unproven(3, 3, 'edited')],
      uncovered: 1,
    },
    told: [['edited', 3, 3]],
  },
  {
    what: 'with two edited events side by side',
    lines: closed(ALL.with(4, text(3, 'edited')).with(5, text(4, 'edited'))),
    result: {
      ...ALTERED,
      covered: [{ from: 0, to: 2 }, { from: 5, to: 9 }], // biome-ignore format: one line
      unproven: [unproven(3, 4, 'edited')],
      uncovered: 2,
    },
    told: [
      ['edited', 3, 3],
      ['edited', 4, 4],
    ],
  },
  {
    what: 'with an edited hash',
    lines: closed(ALL.with(11, leaves(0, 10, 3))),
    result: ALTERED,
    told: [['edited_hash', 3, 3, 'the hash in the export of event 3 was changed; the event is unchanged']],
  },
  {
    what: 'with the hash of the last proven event and of the first one after it edited',
    lines: closed([header(10), ...events(...LOG), leaves(0, 10, 5, 6), head(6)]),
    result: {
      ...ALTERED,
      head: headOf(6),
      covered: [{ from: 0, to: 5 }],
      unproven: [unproven(6, 9, 'after_last_head')],
      uncovered: 4,
    },
    told: [
      ['edited_hash', 5, 5],
      ['edited', 6, 6],
    ],
  },
  {
    what: 'with hashes stated twice: the first count',
    lines: closed([header(10), ...events(...LOG), leaves(0, 10), leaves(2, 4, 3), head(10)]),
    result: {},
  },
  {
    what: 'with some hashes stated twice: the first count',
    lines: closed([header(10), ...events(...LOG), leaves(4, 6), leaves(4, 4, 5, 6), head(10)]),
    result: {},
  },
  {
    what: 'without a head, with an edited hash or event',
    lines: [header(2), ...events(0, 1), leaves(0, 2, 0)],
    result: {
      ...ALTERED,
      events: 2,
      checkpoints: 0,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 1, 'no_signed_head')],
      uncovered: 2,
      closing: 'missing',
    },
    told: [['edited', 0, 0]],
  },
  {
    what: 'with an edited event and a hash to fit it',
    lines: closed(
      ALL.with(4, text(3, 'edited'))
        .with(11, leaves(0, 10, 3))
        .toSpliced(12, 0, head(8), head(3), head(5)),
    ),
    result: {
      ...ALTERED,
      checkpoints: 4,
      head: headOf(3),
      covered: [{ from: 0, to: 2 }],
      unproven: [unproven(3, 9, 'head_does_not_fit')],
      uncovered: 7,
    },
    told: [
      ['root_mismatch', 3, 4, 'the signed head over 5 events has another root: at least one of the events 3..4 was changed'],
    ],
  },
  {
    what: 'under a head from outside of another log of the same key',
    lines: closed(ALL),
    options: { checkpoints: [note(10, [4])] },
    result: { ...ALTERED, checkpoints: 2 },
    told: [['root_mismatch', 0, 9, 'the signed head from outside over 10 events has another root']],
  },
  {
    what: 'under a head over nothing with the root of something',
    lines: closed(ALL),
    options: {
      checkpoints: [
        signCheckpoint(signer, {
          origin: ORIGIN,
          size: 0,
          root: leaf(0),
          stateSequence: 0,
          lowestKeyVersion: 1,
          incarnation: 'inc_1',
          at: AT_MS,
        }),
      ],
    },
    result: { ...ALTERED, checkpoints: 2 },
    told: [['root_mismatch', 0, 0]],
  },
  {
    what: 'whose only head does not fit',
    lines: [header(10), ...events(...LOG), head(4, [1])],
    result: {
      ...ALTERED,
      head: undefined,
      covered: [],
      unproven: [unproven(0, 3, 'head_does_not_fit'), unproven(4, 9, 'after_last_head')],
      uncovered: 10,
      closing: 'missing',
    },
    told: [['root_mismatch', 0, 3]],
  },
  // ---- closing lines
  {
    what: 'with a line taken out that is no event',
    lines: [...ALL.toSpliced(11, 1), closed(ALL).at(-1) ?? ''],
    result: { ...ALTERED, closing: 'does_not_fit' },
    told: [['altered_lines', 0, 9, 'lines other than events were removed, added, moved or edited after the export was signed']],
  },
  {
    what: 'closed over another export without events',
    lines: [header(0), closed(ALL).at(-1) ?? ''],
    result: {
      ...ALTERED,
      events: 0,
      checkpoints: 0,
      head: undefined,
      covered: [],
      closing: 'does_not_fit',
    },
    told: [['altered_lines', 0, 0]],
  },
  // ---- a range
  {
    what: 'of a range, asked for as exported',
    lines: closed([header(10, { from: 3, to: 5 }), ...events(3, 4, 5), leaves(0, 10), head(10)]),
    options: { range: { from: 3, to: 5 } },
    result: { verdict: 'range', events: 3, covered: [{ from: 3, to: 5 }], unproven: [unproven(0, 2, 'missing'), unproven(6, 9, 'missing')] }, // biome-ignore format: one line
  },
  {
    what: 'of a range that nobody asked for: nothing in it is missing',
    lines: closed([header(10, { from: 3, to: 5 }), ...events(3, 4, 5), leaves(0, 10), head(10)]),
    result: { ok: false, verdict: 'incomplete', events: 3, covered: [{ from: 3, to: 5 }], unproven: [unproven(0, 2, 'missing'), unproven(6, 9, 'missing')] }, // biome-ignore format: one line
  },
  {
    what: 'of a range that nobody asked for: not the whole log, though nothing is missing',
    lines: closed([header(10, { from: 0, to: 9 }), ...ALL.slice(1)]),
    result: { ok: false, verdict: 'incomplete' },
  },
  {
    what: 'of a range, of which a part is asked for',
    lines: closed([header(10, { from: 3, to: 5 }), ...events(3, 4, 5), leaves(0, 10), head(10)]),
    options: { range: { from: 4, to: 4 } },
    result: { verdict: 'range', events: 3, covered: [{ from: 3, to: 5 }], unproven: [unproven(0, 2, 'missing'), unproven(6, 9, 'missing')] }, // biome-ignore format: one line
  },
  {
    what: 'cut by hand to a range: its closing line need not fit',
    lines: [header(10), ...events(3, 4, 5), leaves(0, 10), head(10), closed(ALL).at(-1) ?? ''],
    options: { range: { from: 3, to: 5 } },
    result: { verdict: 'range', events: 3, covered: [{ from: 3, to: 5 }], unproven: [unproven(0, 2, 'missing'), unproven(6, 9, 'missing')], closing: 'does_not_fit' }, // biome-ignore format: one line
  },
  {
    what: 'of a range with its last event missing, and others after it',
    lines: closed([header(10), ...events(0, 3, 4, 6, 9), leaves(0, 10), head(10)]),
    options: { range: { from: 3, to: 5 } },
    result: {
      ...ALTERED,
      events: 5,
      covered: [{ from: 0, to: 0 }, { from: 3, to: 4 }, { from: 6, to: 6 }, { from: 9, to: 9 }], // biome-ignore format: one line
      unproven: [unproven(1, 2, 'missing'), unproven(5, 5, 'missing'), unproven(7, 8, 'missing')],
    },
    told: [['deleted', 5, 5]],
  },
  {
    what: 'of a range that is there, with gaps after it',
    lines: closed([header(10), ...events(3, 4, 5, 8), leaves(0, 10), head(10)]),
    options: { range: { from: 3, to: 5 } },
    result: {
      verdict: 'range',
      events: 4,
      covered: [{ from: 3, to: 5 }, { from: 8, to: 8 }], // biome-ignore format: one line
      unproven: [unproven(0, 2, 'missing'), unproven(6, 7, 'missing'), unproven(9, 9, 'missing')],
    },
  },
  {
    what: 'of a range that has a gap over its end',
    lines: closed([header(10), ...events(3, 8), leaves(0, 10), head(10)]),
    options: { range: { from: 3, to: 5 } },
    result: {
      ...ALTERED,
      events: 2,
      covered: [{ from: 3, to: 3 }, { from: 8, to: 8 }], // biome-ignore format: one line
      unproven: [unproven(0, 2, 'missing'), unproven(4, 7, 'missing'), unproven(9, 9, 'missing')],
    },
    told: [['deleted', 4, 5]],
  },
  {
    what: 'of a range at the end, of which nothing is there',
    lines: closed([header(10), ...events(0, 1), leaves(0, 10), head(10)]),
    options: { range: { from: 8, to: 9 } },
    result: { ...ALTERED, events: 2, covered: [{ from: 0, to: 1 }], unproven: [unproven(2, 9, 'missing')] },
    told: [['cut_tail', 8, 9]],
  },
  {
    what: 'of a range whose last event is the first one after the newest head',
    lines: closed([header(10), ...events(4, 5, 6), leaves(0, 10), head(6)]),
    options: { range: { from: 4, to: 6 } },
    result: {
      ok: false,
      verdict: 'incomplete',
      events: 3,
      head: headOf(6),
      covered: [{ from: 4, to: 5 }],
      unproven: [unproven(0, 3, 'missing'), unproven(6, 6, 'after_last_head'), unproven(7, 9, 'missing')],
      uncovered: 1,
    },
  },
  {
    what: 'of a range beyond the newest head',
    lines: closed([header(10), ...events(3, 4, 5, 6, 7), leaves(0, 10), head(6)]),
    options: { range: { from: 4, to: 7 } },
    result: {
      ok: false,
      verdict: 'incomplete',
      events: 5,
      head: headOf(6),
      covered: [{ from: 3, to: 5 }],
      unproven: [unproven(0, 2, 'missing'), unproven(6, 7, 'after_last_head'), unproven(8, 9, 'missing')],
      uncovered: 2,
    },
  },
];

describe('the verifier says of an export', () => {
  it.each(CASES)('$what', ({ lines, options, result, told = [] }) => {
    const { findings, ...found } = verify(lines, options);
    const { findings: _none, ...whole } = WHOLE;
    expect(found).toEqual({ ...whole, ...result });
    expect(findings.map(({ kind, from, to }) => [kind, from, to])).toEqual(told.map(([kind, from, to]) => [kind, from, to]));
    for (const [i, [, , , says]] of told.entries()) expect(findings[i]?.explanation).toContain(says ?? '');
  });

  it('no more than a hundred findings', () => {
    expect(verify([...ALL, ...Array.from({ length: 150 }, () => 'x')]).findings).toHaveLength(100);
  });
});

describe('lines given as bytes', () => {
  const bytes = (lines: readonly string[]) => lines.map((line) => new Uint8Array(Buffer.from(line)));

  it('are as good as text', () => {
    expect(verify(bytes(closed(ALL)))).toEqual(WHOLE);
  });

  it.each([
    ['no UTF-8', Uint8Array.from([...Buffer.from('{"action":"'), 0xff, ...Buffer.from('","index":10}')])],
    ['a byte order mark first', Uint8Array.from([0xef, 0xbb, 0xbf, ...Buffer.from(text(10))])],
  ])('are none of an export with %s', (_what, line) => {
    const result = verify([...bytes(ALL), line]);
    expect(result.events).toBe(10);
    expect(result.findings.map(({ kind }) => kind)).toEqual(['malformed']);
  });
});
