// The steps of a run as server-sent events (WHATWG HTML section 9.2), from its journal. It must never outlive the token that opened it for
// longer than `LIMITS.runEventsMaxMs`, nor keep a tenant open.
import type { Caller } from '../access/principals.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { RunRow, RunStepRow } from '../cell/runs.ts';
import type { NamedRun } from '../vault/change-run.ts';
import { getRun } from '../vault/read-runs.ts';
import type { TenantVault } from '../vault/tenant-vault.ts';
import { runStepView, runView } from './v1/views.ts';

export interface EventsAsked extends NamedRun {
  readonly caller: Caller;
  /** The `id` of the last event that the client has. */
  readonly after: number;
  /** Whether the token of a user is still valid; tokens of workloads are checked at the tenant. */
  readonly isStillUser: () => boolean | Promise<boolean>;
}

interface Open {
  /** Known once the caller has passed the door. */
  principal?: string;
}

/** The streams that are open at each tenant. */
const OPEN = new WeakMap<TenantVault, Set<Open>>();

/**
 * Events `step`, with the number of the step as `id`, then one event `end` with the run; or `reconnect` after `LIMITS.runEventsMaxMs`.
 * Ends without an event when the token is revoked or the tenant closes. @throws rate_limited | as getRun, from the first `next`
 */
export async function* runEvents(vault: TenantVault, asked: EventsAsked): AsyncGenerator<Uint8Array> {
  const { caller, environment, name, runId } = asked;
  const open = OPEN.get(vault) ?? new Set<Open>();
  OPEN.set(vault, open);
  if (open.size >= LIMITS.runEventStreamsMax)
    fail('rate_limited', 'too many streams of runs are open at this tenant: poll the run instead', { retryAfterSeconds: 5 });
  const own: Open = {};
  open.add(own);
  try {
    const first = await vault.submit((job) => {
      own.principal = job.door.authenticate(caller).id;
      return getRun(job, caller, environment, name, runId);
    });
    if ([...open].filter(({ principal }) => principal === own.principal).length > LIMITS.runEventStreamsOfOneMax)
      fail('rate_limited', 'too many streams of runs are open for this caller: poll the run instead', { retryAfterSeconds: 5 });
    yield encoded(`retry: ${LIMITS.runEventsRetryMs}\n\n`);
    yield* follow(vault, asked, first);
  } finally {
    open.delete(own);
  }
}

async function* follow(vault: TenantVault, asked: EventsAsked, first: Looked): AsyncGenerator<Uint8Array> {
  const { clock } = vault.platform;
  const beganAt = clock.now();
  let { after } = asked;
  let quietSince = beganAt;
  let checkedAt = beganAt;
  let looked: Looked | undefined = first;
  while (looked !== undefined) {
    for (const step of looked.steps.filter(({ sequence }) => sequence > after)) {
      yield eventOf('step', runStepView(step), step.sequence);
      after = step.sequence;
      quietSince = clock.now();
    }
    if (looked.row.state !== 'open') return yield eventOf('end', runView(looked.row));
    const now = clock.now();
    if (now - beganAt >= LIMITS.runEventsMaxMs) return yield eventOf('reconnect', {});
    if (now - quietSince >= LIMITS.runEventsBeatMs) {
      yield encoded(': open\n\n');
      quietSince = now;
    }
    if (now - checkedAt >= LIMITS.runEventsCheckMs) {
      if (!(await isStillValid(vault, asked))) return;
      checkedAt = now;
    }
    await new Promise<void>((resolve) => vault.platform.later(LIMITS.runEventsPollMs, resolve));
    looked = look(vault, looked.row.id);
  }
}

interface Looked {
  readonly row: RunRow;
  readonly steps: readonly RunStepRow[];
}

/** Undefined if the tenant has closed, or the run cannot be read any more: the client reconnects and learns why. */
function look(vault: TenantVault, runId: string): Looked | undefined {
  try {
    return vault.lookup('run', (lookup, { runs }) => ({ row: runs.get(lookup, runId), steps: runs.steps(lookup, runId) }));
  } catch {
    return undefined;
  }
}

async function isStillValid(vault: TenantVault, { caller, isStillUser }: EventsAsked): Promise<boolean> {
  try {
    if (caller.user !== undefined) return await isStillUser();
    await vault.submit((job) => job.door.authenticate(caller));
    return true;
  } catch (error) {
    if (error instanceof KeyturnError) return false;
    throw error;
  }
}

function eventOf(kind: string, data: unknown, id?: number): Uint8Array {
  return encoded(`${id === undefined ? '' : `id: ${id}\n`}event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
}

const encoder = new TextEncoder();
const encoded = (text: string): Uint8Array => encoder.encode(text);
