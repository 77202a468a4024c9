// How a key or password is rotated: its settings, and whether its current version is in doubt. It must never contain a secret.
// The settings that determine where its secrets are sent are sealed with each version (D14); admin and grace period are free.
import { z } from 'zod';
import { KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { canonicalJson } from '../crypto/canonical-json.ts';
import { endpoint, parameterName } from './credential-kinds.ts';
import { httpSteps, programSteps, webhookSteps } from './custom-rotation.ts';

/** The settings of a credential whose connector replaces keys or passwords; nothing here is secret. */
export const keyConfig = z.strictObject({
  /** Values of the connector's `{parameters.x}`: account id, region, project ... */
  parameters: z.record(parameterName, z.string().min(1).max(255)).optional(),
  /** Replacements of hosts that the connector declares. */
  base_urls: z.record(z.string().min(1).max(255), endpoint).optional(),
  /** The sandbox at this origin replaces all hosts of the connector. Only if the installation allows it. */
  sandbox: endpoint.optional(),
  /** Of generic-http: the requests. */
  http: httpSteps.optional(),
  /** Of generic-webhook: the endpoint and its steps. */
  webhook: webhookSteps.optional(),
  /** Of generic-program: the program and its steps. */
  program: programSteps.optional(),
  /** The credential of the same environment that authenticates the management calls. Default: the value itself. */
  admin: z.string().min(1).max(LIMITS.credentialNameMaxChars).optional(),
  /** This credential authenticates management calls of the connector for others, and is not rotated itself. */
  manages: z.literal(true).optional(),
  /** How long the old value keeps working after a rotation. Default: that of the connector. */
  grace_seconds: z.int().min(0).max(LIMITS.graceMaxSeconds).optional(),
  /** How long after a rotation the old value is ended at the latest, although readers still have it. Default: 7 days, or the grace period. */
  deadline_seconds: z.int().min(0).max(LIMITS.deadlineMaxSeconds).optional(),
  /** A workload that read the credential within this time is a reader that the end of the old value waits for. Default: 30 days. */
  reader_window_seconds: z.int().min(LIMITS.readerWindowMinSeconds).max(LIMITS.readerWindowMaxSeconds).optional(),
  /** Rotates this long after each rotation or put. Default: on request only. */
  rotate_every_seconds: z.int().min(LIMITS.rotateEveryMinSeconds).max(LIMITS.rotateEveryMaxSeconds).optional(),
});
export type KeyConfig = z.infer<typeof keyConfig>;

/** Settings that may change without a new value. */
const FREE: ReadonlySet<string> = new Set([
  'admin',
  'manages',
  'grace_seconds',
  'deadline_seconds',
  'reader_window_seconds',
  'rotate_every_seconds',
] satisfies (keyof KeyConfig)[]);

/** The settings that are sealed with a value. */
export function boundKeyConfig(config: KeyConfig): KeyConfig {
  return Object.fromEntries(Object.entries(config).filter(([name, value]) => value !== undefined && !FREE.has(name)));
}

/** The settings that may change without a new value. */
export function freeKeyConfig(config: KeyConfig): KeyConfig {
  return Object.fromEntries(Object.entries(config).filter(([name, value]) => value !== undefined && FREE.has(name)));
}

export function keyConfigOf({ config }: Pick<CredentialRow, 'config'>): KeyConfig {
  return JSON.parse(config) as KeyConfig;
}

export interface KeySettings {
  readonly connector: string | null;
  readonly config: KeyConfig;
}

/** The connector and the settings of the last put. */
export function keySettingsOf(row: Pick<CredentialRow, 'connector' | 'config'>): KeySettings {
  return { connector: row.connector, config: keyConfigOf(row) };
}

/** Whether both have the same connector and the same bound settings. */
export function isBoundAlike(one: KeySettings, other: KeySettings): boolean {
  const bound = ({ config }: KeySettings) => canonicalJson(boundKeyConfig(config));
  return one.connector === other.connector && bound(one) === bound(other);
}

/** Sealed beside a value: the connector and settings that it was stored with. Absent in values stored without a connector. */
export interface RetainedKey {
  readonly settings?: { readonly connector: string; readonly config: KeyConfig; readonly hosts?: readonly string[] };
}

/** Stored as JSON in `credential.rotation`, under the row's MAC. */
interface RotationState {
  /** The run that may have made the target refuse the current version: it must not be served before the run has found out. */
  readonly doubt?: string | undefined;
  /** When the current version became current. Absent: when it was stored. */
  readonly rotatedAt?: number | undefined;
  /** The version before it, and until when it works at the target for certain. Absent: none, or it has ended, or nothing ends it. */
  readonly previous?: { readonly version: number; readonly validUntil: number } | undefined;
  /** The schedule that the present plan was made by (plan-rotation.ts). */
  readonly plan?: string | undefined;
  /** Rotations in a row that failed. */
  readonly failures?: number | undefined;
  /** The alert about an overdue rotation: how often it was raised, and for which date. */
  readonly overdue?: { readonly times: number; readonly promisedAt: number } | undefined;
}

export function rotationStateOf({ rotation }: Pick<CredentialRow, 'rotation'>): RotationState {
  return rotation === '{}' ? {} : (JSON.parse(rotation) as RotationState);
}

/** Changes the given members; undefined removes one. */
export function changeRotationState(draft: Pick<CredentialRow, 'rotation'>, change: Partial<RotationState>): void {
  // Most puts are of credentials that are not rotated.
  if (draft.rotation === '{}' && Object.values(change).every((member) => member === undefined)) return;
  draft.rotation = JSON.stringify({ ...rotationStateOf(draft), ...change });
}

export function doubtOf({ rotation }: Pick<CredentialRow, 'rotation'>): string | undefined {
  // Asked at every read.
  return rotation.includes('"doubt"') ? (JSON.parse(rotation) as RotationState).doubt : undefined;
}

/** When the current version became current, if that is not when it was stored. */
export function rotatedAtOf(row: Pick<CredentialRow, 'rotation'>): number | undefined {
  return rotationStateOf(row).rotatedAt;
}

/** Until when the previous version works at its target for certain; undefined if there is none, it has ended, or nothing ends it. */
export function previousValidUntil(row: Pick<CredentialRow, 'rotation' | 'previous_version'>): number | undefined {
  const { previous } = rotationStateOf(row);
  return previous !== undefined && previous.version === row.previous_version ? previous.validUntil : undefined;
}

/** Notes that another version became current at `now`; ends any doubt. @param validUntil of the version before it, if it will be ended */
export function setRotated(draft: CredentialRow, now: number, validUntil?: number): void {
  const version = draft.previous_version;
  const previous = validUntil === undefined || version === null ? undefined : { version, validUntil };
  changeRotationState(draft, { doubt: undefined, rotatedAt: now, previous });
}

/** Notes that a value that was put is current; ends any doubt. */
export function setPut(draft: CredentialRow): void {
  changeRotationState(draft, { doubt: undefined, rotatedAt: undefined, previous: undefined });
}

/** Notes that a version no longer works at its target. */
export function setEnded(draft: CredentialRow, version: number): void {
  if (rotationStateOf(draft).previous?.version === version) changeRotationState(draft, { previous: undefined });
}

/** @param runId undefined: the current version works again, or another one is current */
export function setDoubt(draft: CredentialRow, runId: string | undefined): void {
  changeRotationState(draft, { doubt: runId });
}

/** A rotation is about to replace the value at its target, or it is unknown whether it did. */
export class ValueInDoubt extends KeyturnError {
  readonly credentialId: string;

  constructor(credentialId: string) {
    super('provider_unavailable', 'a rotation of this credential is replacing its value: repeat the request shortly', {
      retryAfterSeconds: 1,
      extra: { cause: 'rotation_in_doubt' },
    });
    this.credentialId = credentialId;
  }
}

/** @throws ValueInDoubt */
export function refuseInDoubt(row: CredentialRow): void {
  if (doubtOf(row) !== undefined) throw new ValueInDoubt(row.id);
}
