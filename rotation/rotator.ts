// What the rotation engine asks of a target: one interface for declared HTTP calls (keys/declared.ts) and the platform's drivers.
// A rotator keeps no state, and each of its steps may be repeated: the engine repeats a step whose outcome it does not know.
import type { Clock, Entropy } from '../src/base/clock.ts';
import type { SecretValue } from '../src/base/secret-value.ts';
import type { Egress } from './egress.ts';
import type { RotationStrategy, Verdict } from './key-spec.ts';

/** A stored value, as JSON. Its texts are secret: a rotator must never put one into an outcome, an error or a log. */
export type StoredValue = Readonly<Record<string, unknown>>;

/** A create of this run whose outcome is not known, for targets whose keys have no name. */
export interface Interrupted {
  /** A key that it made was made between these, by the clock of the provider, with allowance for its error. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** How many attempts may have made a key each. */
  readonly attempts: number;
  /** Values that the vault got since then. */
  readonly known: readonly StoredValue[];
  /** Another credential of the same account may have got a key since then. */
  readonly isShared: boolean;
}

/** What a rotator works with during one step. */
export interface Target {
  /** The credential's parameters, e.g. `{ account_id: '...' }`; never secret. */
  readonly parameters: Readonly<Record<string, string>>;
  /** The value that is replaced, or whose end is wanted. */
  readonly old: StoredValue;
  /** The admin credential's value; `old` if the value manages itself. */
  readonly admin: StoredValue;
  /** The name of the new key at the provider, unique to the run: `keyturn-<run>`. */
  readonly name: string;
  /** Only for a create after another one of the run. */
  readonly interrupted?: Interrupted;
  /** Allows only the hosts that the secrets of this step are bound to. */
  readonly egress: Egress;
  readonly allowedHosts: readonly string[];
  readonly allowLoopback: boolean;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

/** What the provider said, for the run's journal: never a secret, at most 500 characters of it scrubbed of every text in play. */
export interface Said {
  readonly status?: number;
  readonly words?: string;
}

/**
 * How a step failed. `refused`: the target gave a well-formed refusal, so nothing was changed. `not_sent`: nothing left Keyturn.
 * `lost`: the target may have acted. `odd`: an answer of the wrong shape, so the target may have acted.
 */
export type StepFailure =
  | {
      readonly kind: 'refused';
      readonly means: 'transient' | 'configuration';
      readonly cause: string;
      readonly retryAfterSeconds?: number;
      readonly said?: Said;
      /** Ids of keys at the provider, for the alert; never secret. */
      readonly keys?: readonly string[];
    }
  | { readonly kind: 'not_sent' | 'lost' | 'odd'; readonly cause: string; readonly said?: Said };

export type StepOutcome<T = object> = ({ readonly kind: 'done' } & T) | StepFailure;

export interface NewValue {
  readonly value: StoredValue;
  readonly endsAtMs?: number;
}

/** One call of a plan, in words that contain no secret. */
export interface PlannedCall {
  readonly step: 'check' | 'create' | 'set' | 'test' | 'revoke' | 'prove_dead';
  /** E.g. `POST https://api.example.com/v1/keys` or `ALTER ROLE on db.example.com:5432`. */
  readonly what: string;
  readonly undoable: boolean;
}

export interface Rotator {
  plan(target: Pick<Target, 'parameters'>): readonly PlannedCall[];
  /** Why this value cannot be rotated, found without any call. Absent, or undefined: nothing is known against it. */
  checkLocally?(target: Target): string | undefined;
  /**
   * Checks before anything is changed: the cap of keys. Absent: none.
   * Refuses with `configuration` and the cause `key_cap_reached`.
   */
  check?(target: Target): Promise<StepOutcome>;
  /**
   * Makes the new value: by a call that changes the provider (`mintsAtTarget`), or here without any call.
   * @param again an earlier call of this run may have made a key: find it by `target.name` and remove it first
   */
  create(target: Target, again: boolean): Promise<StepOutcome<NewValue>>;
  /** True if `create` changes the target. */
  readonly mintsAtTarget: boolean;
  /** Makes the target accept `fresh`. Absent: `create` did. Idempotent. */
  set?(target: Target, fresh: StoredValue): Promise<StepOutcome>;
  /** Whether the target accepts the value; never an exception. */
  test(target: Target, value: StoredValue): Promise<Verdict>;
  /**
   * Removes every key at the target that has the name `target.name`, which a run may have made without learning of it. Idempotent. Absent: such a
   * key cannot be found.
   */
  removeMade?(target: Target): Promise<StepOutcome>;
  /** Makes the target refuse `value`. Absent: the new value did that. Idempotent: a value that no longer exists is `done`. */
  revoke?(target: Target, value: StoredValue): Promise<StepOutcome>;
}

/** A platform's way to a target without HTTP. Members as in `Rotator`; `plan` and strategy depend on the connector. */
export interface KeyDriver {
  /** The rotator for a strategy; undefined if the driver does not support it. */
  rotator(strategy: Exclude<RotationStrategy, 'manual'>): Rotator | undefined;
}

/** What a program wrote to its standard output, or why there is no whole output. */
export type ProgramAnswer = { readonly kind: 'answered'; readonly output: SecretValue } | ProgramFailure;
export interface ProgramFailure {
  /** `not_sent`: it was not started. */
  readonly kind: 'not_sent' | 'lost';
  readonly cause: string;
  /** Of its standard error, as it was written: it may contain secrets. */
  readonly errors?: SecretValue;
}

/** A program that the operator allows; its path and arguments are the operator's. Ends with the call, whatever happens. */
export interface Program {
  ask(input: SecretValue): Promise<ProgramAnswer>;
}
