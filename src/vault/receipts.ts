// Makes the receipt of a finished rotation from its runs and the log. It must never state what was not recorded when it happened.
import type { Caller } from '../access/principals.ts';
import {
  type ReceiptBody,
  type ReceiptStep,
  type ReceiptTest,
  type RotationStatement,
  receiptOf,
  verifyReceipt,
} from '../audit/receipt.ts';
import { toTimestamp } from '../base/clock.ts';
import { fail, notFound } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { RunRow, RunStepRow } from '../cell/runs.ts';
import { Frontier, inclusionProofAfter } from '../crypto/merkle.ts';
import { HASH_BYTES } from '../crypto/primitives.ts';
import { credentialTarget, type Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';

/** The facts of the two runs that a receipt needs (rotation/keys/rotation-booking.ts, await-readers.ts). */
interface KeptFacts {
  readonly connector?: string;
  readonly strategy?: string;
  readonly plan?: string;
  readonly rotation?: string;
  readonly late?: readonly string[];
  readonly lateCount?: number;
  readonly readers?: readonly { id: string; name: string | null; version: number; at: number }[];
  readonly readersCount?: number;
  readonly event?: number;
}

const factsOf = ({ facts }: RunRow): KeptFacts => JSON.parse(facts) as KeptFacts;

const TOO_OLD = 'the rotation has no receipt: it ended before this build';

export interface NamedRun {
  readonly environment: string;
  readonly name: string;
  /** The rotation, or the revocation of the value that it replaced. */
  readonly runId: string;
}

/**
 * The receipt of a rotation whose old value has ended, at most `LIMITS.receiptMaxBytes`.
 * @throws not_found | conflict: the rotation has not ended, or has no receipt | integrity
 */
export async function readReceipt(vault: TenantVault, caller: Caller, named: NamedRun): Promise<string> {
  // The head that covers the last event is signed first, and durable before it is handed out.
  await vault.submit((job) => {
    // SECURITY: a receipt names the readers, so whoever may not list them gets none.
    job.door.enter(
      caller,
      'reader.list',
      (lookup) => credentialTarget(job, lookup, named.environment, named.name),
      () => {},
    );
    enter(job, caller, named, (_access, _located, revocation) => {
      if ((factsOf(revocation).event ?? -1) >= (lastSigned(job) ?? 0)) job.core.audit.signNow();
    });
  });
  return vault.submit((job) =>
    job.door.lookup('receipt', (lookup) => {
      const located = credentialTarget(job, lookup, named.environment, named.name).subject ?? notFound('credential');
      return build(job, lookup, located, named.runId);
    }),
  );
}

function enter(
  job: TenantJob,
  caller: Caller,
  { environment, name, runId }: NamedRun,
  effect: (access: Lookup, located: Located, revocation: RunRow) => void,
): void {
  job.door.enter(
    caller,
    'run.read',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, located, details) => {
      const { rotation, revocation } = runsOf(job, access, located, runId);
      details.run = rotation.id;
      effect(access, located, revocation);
    },
  );
}

/** Size of the newest signed head. */
const lastSigned = (job: TenantJob) => job.core.rows.log.signedSizeUpTo(job.core.audit.size);

/** @throws not_found | conflict */
function runsOf(job: TenantJob, access: Lookup, { row }: Located, runId: string): { rotation: RunRow; revocation: RunRow } {
  const named = job.runs.find(access, runId);
  if (named === undefined || named.credential_id !== row.id) return notFound('run');
  const rotationId = named.kind === 'revocation' ? factsOf(named).rotation : named.id;
  const rotation = rotationId === undefined ? undefined : job.runs.find(access, rotationId);
  if (rotation?.kind !== 'rotation' || rotation.outcome !== 'rotated')
    return fail('conflict', 'only a rotation that replaced a key or password has a receipt');
  const revocation = job.runs.lastRevocation(access, row.id, rotation.generation);
  if (revocation === undefined || factsOf(revocation).rotation !== rotation.id || revocation.state === 'open')
    return fail('conflict', 'the rotation has no receipt yet: the old value has not been ended; see the runs of the credential');
  if (revocation.outcome !== 'revoked')
    return fail(
      'conflict',
      'the rotation has no receipt: its old value was not ended by Keyturn; see the runs of the credential',
    );
  return { rotation, revocation };
}

function build(job: TenantJob, lookup: Lookup, located: Located, runId: string): string {
  const { rotation, revocation } = runsOf(job, lookup, located, runId);
  const { event: index } = factsOf(revocation);
  if (index === undefined) return fail('conflict', TOO_OLD);
  const proof = eventProof(job, lookup, index, revocation.id);
  const { audit } = job.core;
  // The longest lists that fit.
  for (let listed = LIMITS.receiptStepsMax; ; listed -= 1) {
    const statement = statementOf(job, lookup, located, { rotation, revocation, listed });
    const body: ReceiptBody = { origin: audit.origin, verifier_key: audit.verifierKey, statement, ...proof };
    const text = receiptOf(body, (signed) => audit.receiptNote(signed));
    if (Buffer.byteLength(text) > LIMITS.receiptMaxBytes && listed > 0) continue;
    // What the database holds may have been changed: nothing is handed out that its own check refuses.
    if (!verifyReceipt(text, audit.verifierKey).ok)
      fail('integrity', 'stored data failed its check', { evidence: 'receipt: the log and the runs differ' });
    return text;
  }
}

interface Ended {
  readonly rotation: RunRow;
  readonly revocation: RunRow;
  readonly listed: number;
}

function statementOf(
  job: TenantJob,
  lookup: Lookup,
  { environment, row }: Located,
  { rotation, revocation, listed }: Ended,
): RotationStatement {
  const [made, ended] = [factsOf(rotation), factsOf(revocation)];
  const { connector, strategy } = made;
  if (connector === undefined || strategy === undefined) return fail('conflict', TOO_OLD);
  // SECURITY: a deleted or damaged line could be the one that says that the old value still worked.
  const journals = [rotation, revocation].flatMap((run) =>
    job.runs.wholeJournal(lookup, run.id).map((line) => ({ ...line, run: run.id })),
  );
  const last = (step: string, status?: string) =>
    journals.findLast((line) => line.step === step && (status === undefined || line.status === status));
  const exposed = journals.find((line) => line.step === 'prove_dead' && line.status === 'works');
  const { readers = [], readersCount = 0, late = [], lateCount = 0 } = ended;
  const steps = firstAndLast(journals, listed);
  return {
    credential: { id: row.id, environment: environment.name, name: row.name, kind: row.kind },
    connector,
    strategy,
    plan: made.plan ?? null,
    rotation: {
      run: rotation.id,
      trigger: rotation.trigger,
      requested_by: rotation.requested_by,
      started_at: toTimestamp(rotation.started_at),
    },
    approved_by: [],
    new_version: recorded(rotation.new_version),
    new_value: { verdict: 'works', ...testOf(last('test', 'works')) },
    old_version: rotation.generation,
    revocation: { run: revocation.id, finished_at: toTimestamp(recorded(revocation.finished_at)) },
    old_value: {
      verdict: revocation.cause === 'proved_dead' ? 'proved_dead' : 'unproven',
      ...testOf(last('prove_dead')),
      exposed_at: exposed === undefined ? null : toTimestamp(exposed.at),
    },
    readers: {
      count: readersCount,
      listed: readers.slice(0, listed).map(({ at, ...reader }) => ({ ...reader, at: toTimestamp(at) })),
    },
    late_readers: { count: lateCount, names: late.slice(0, listed) },
    steps: steps.map(stepOf),
    steps_omitted: journals.length - steps.length,
  };
}

function firstAndLast<T>(list: readonly T[], count: number): readonly T[] {
  if (list.length <= count) return list;
  return [...list.slice(0, Math.ceil(count / 2)), ...list.slice(list.length - Math.floor(count / 2))];
}

function stepOf({ run, step, status, at, evidence }: RunStepRow & { readonly run: string }): ReceiptStep {
  return { run, step, status, at: toTimestamp(at), provider_status: statusIn(evidence) };
}

function testOf(line: RunStepRow | undefined): ReceiptTest {
  const { at, evidence } = recorded(line);
  return { at: toTimestamp(at), provider_status: statusIn(evidence) };
}

/** @throws integrity: every run that ended in this way has stored it */
function recorded<T>(fact: T | null | undefined): T {
  return fact ?? fail('integrity', 'stored data failed its check', { evidence: 'receipt: the runs are incomplete' });
}

function statusIn(evidence: string | null): number | null {
  return evidence === null ? null : ((JSON.parse(evidence) as { status?: number }).status ?? null);
}

/** The run's last event as it lies in the log, and its proof in the first signed head that covers it. */
function eventProof(
  job: TenantJob,
  lookup: Lookup,
  index: number,
  runId: string,
): Pick<ReceiptBody, 'event' | 'proof' | 'checkpoint'> {
  const { log } = job.core.rows;
  const [head] = log.headsFrom(index + 1, 1);
  const block = log.blockAt(lookup, index);
  const [stored] = block === undefined ? [] : log.wholeBlocks(lookup, block.first_index, block.first_index);
  const event =
    stored === undefined ? undefined : Buffer.from(stored.bytes).toString('utf8').split('\n')[index - stored.first_index];
  if (head === undefined || event?.includes(`"run":"${runId}"`) !== true)
    return fail('integrity', 'stored data failed its check', { evidence: 'receipt: the event is not in the log' });
  const earlier = log.headUpTo(index);
  const before = earlier?.frontier == null ? new Frontier() : Frontier.fromBytes(earlier.frontier);
  const path = inclusionProofAfter(before, leavesBetween(job, before.size, head.size), index);
  return { event, proof: path.map((hash) => Buffer.from(hash).toString('base64')), checkpoint: head.note };
}

/** Between two signed heads: those of one second, as a rule. @throws integrity */
function leavesBetween(job: TenantJob, from: number, to: number): Uint8Array[] {
  const leaves: Uint8Array[] = [];
  while (from + leaves.length < to) {
    const reached = leaves.length;
    for (const block of job.core.rows.log.leavesFrom(from + reached, to, LIMITS.auditSliceBlocks))
      for (let at = 0; at + HASH_BYTES <= block.leaves.byteLength; at += HASH_BYTES)
        if (block.first_index + at / HASH_BYTES === from + leaves.length && from + leaves.length < to)
          leaves.push(block.leaves.subarray(at, at + HASH_BYTES));
    if (leaves.length === reached)
      return fail('integrity', 'stored data failed its check', { evidence: 'receipt: leaves of the log are missing' });
  }
  return leaves;
}
