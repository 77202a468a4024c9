// What a connector of a key or password declares: the outside calls of a rotation. Order, journal and retries are the engine's.
import type { SecretValue } from '../src/base/secret-value.ts';
import type { EgressAnswer, EgressRequest } from './egress.ts';

/** Calls a rotation may make: bound by the engine to the connector's hosts, the credential's settings and one deadline. */
export interface ProviderCalls {
  send(request: Pick<EgressRequest, 'url' | 'method' | 'headers' | 'body'>): Promise<EgressAnswer>;
  readonly parameters: Readonly<Record<string, string>>;
}

/** `unknown` never promotes and never revokes (D5). */
export type Verdict = 'works' | 'rejected' | 'unknown';

/** The outside calls of create -> set -> test -> finish -> (grace) -> revoke -> prove-dead; order, journal and retries are the engine's. */
export interface KeyRotation {
  /** `overlap`: old and new work side by side. `in_place`: the old one stops at once, so there is no grace. */
  readonly style: 'overlap' | 'in_place';
  readonly hosts: readonly string[];
  /** Makes a new key named by `runId`, so that an orphan of a crashed run is found by name. `keyId` is not secret. */
  mint(
    calls: ProviderCalls,
    current: SecretValue,
    runId: string,
  ): Promise<{ readonly keyId: string; readonly value: SecretValue }>;
  /** Ids of keys named by `runId`: what a crashed mint may have left behind. */
  findMinted?(calls: ProviderCalls, current: SecretValue, runId: string): Promise<readonly string[]>;
  test(calls: ProviderCalls, value: SecretValue): Promise<Verdict>;
  /** Idempotent: a key that is already gone counts as revoked. */
  revoke(calls: ProviderCalls, current: SecretValue, keyId: string): Promise<'revoked' | 'unknown'>;
}
