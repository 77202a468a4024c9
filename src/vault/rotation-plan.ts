// What a rotation or refresh would do, before anything is done: every call in order, who manages, when the old value ends, and every local
// check. It must never contain a secret.
import { fail } from '../base/errors.ts';
import { canonicalJson } from '../crypto/canonical-json.ts';
import { sha256OfText } from '../crypto/primitives.ts';
import type { ReaderView } from './readers.ts';

export interface PlannedStep {
  readonly step: string;
  /** E.g. `POST https://api.example.com/v1/keys`. */
  readonly what: string;
  readonly undoable: boolean;
}

/** What is done; its hash changes with anything in it, and with nothing else. */
export interface PlannedRun {
  readonly credential: string;
  /** The version that is replaced. */
  readonly version: number;
  readonly connector: string | null;
  readonly strategy: string | null;
  readonly calls: readonly PlannedStep[];
  /** Origins with base paths that secrets are sent to; empty for a database, whose host is in the value. */
  readonly destinations: readonly string[];
  /** The credential that manages this one; null: itself. */
  readonly manager: { readonly id: string; readonly name: string } | null;
  readonly keys_max: number | null;
  /** For how long the old value works at least; null: the target refuses it at once. */
  readonly grace_seconds: number | null;
  /** When the old value is ended although readers have not changed over; null as above. */
  readonly deadline_seconds: number | null;
}

export interface PlanCheck {
  readonly check: 'state' | 'conflict' | 'configuration' | 'platform' | 'staging' | 'value' | 'admin';
  /** Undefined: it has passed. */
  readonly fault: string | undefined;
}

export interface RotationPlan {
  readonly planned: PlannedRun;
  /** SHA-256 over the canonical JSON of `planned`, in hexadecimal. */
  readonly hash: string;
  /** What the strategy means for readers. */
  readonly consequence: string;
  readonly checks: readonly PlanCheck[];
  readonly readers: readonly ReaderView[];
}

export function hashOfPlan(planned: PlannedRun): string {
  return Buffer.from(sha256OfText(canonicalJson(planned))).toString('hex');
}

/** @throws not_rotatable | conflict for the first check that has failed */
export function requireReady({ checks }: Pick<RotationPlan, 'checks'>): void {
  const failed = checks.find(({ fault }) => fault !== undefined);
  if (failed?.fault === undefined) return;
  fail(failed.check === 'conflict' ? 'conflict' : 'not_rotatable', failed.fault, { extra: { check: failed.check } });
}

/** @throws conflict if the plan is no longer the one with this hash */
export function requireSame({ hash }: Pick<RotationPlan, 'hash'>, wanted: string | undefined): void {
  if (wanted === undefined || wanted === hash) return;
  fail('conflict', 'the plan has changed since: look at the present one, and request the run with its hash', {
    extra: { plan: hash },
  });
}
