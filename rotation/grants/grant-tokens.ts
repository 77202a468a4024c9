// Opens the secrets of one version together with the settings and the egress that they are bound to (D14), and determines whether another
// credential has the same grant. It must never return them except to the engine, in the job that journals the reason.

import type { EventDetails } from '../../src/audit/event.ts';
import type { Clock } from '../../src/base/clock.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { ReadAccess, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow, VersionRow } from '../../src/cell/credentials.ts';
import { hostsAsText, hostsOf, settingsOfVersion } from '../../src/vault/bound-settings.ts';
import { fromJsonBytes, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { grantOf } from '../../src/vault/grant.ts';
import { grantFingerprint } from '../../src/vault/grant-fingerprint.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { prepareVersion } from '../../src/vault/versions.ts';
import { type Egress, findConnector, type OAuthConnector, type RevocationSpec } from '../connector.ts';
import type { JobPorts } from '../engine/due-work.ts';
import type { ClientIdentity, Requester } from '../oauth2/client-request.ts';
import { boundEgress, destinationsOf } from '../oauth2/destinations.ts';
import type { ResolvedConnector } from '../oauth2/settings.ts';
import { mayReachLoopback, resolvedOrNot } from './connector-settings.ts';

export interface GrantTokens {
  readonly refreshToken: SecretValue | undefined;
  readonly accessToken: SecretValue | undefined;
  readonly accessTokenExpiresAtMs: number | null;
  readonly client: ClientIdentity;
}

/** The secrets of one version, with their settings and egress. */
export interface BoundGrant {
  readonly tokens: GrantTokens;
  readonly connector: OAuthConnector;
  /** Resolved from the version's own settings. */
  readonly resolved: ResolvedConnector;
  /** Allows only the endpoints of `resolved`. */
  readonly egress: Egress;
  /** For the event of the use: the connector's current hosts and those at the put, if they differ. */
  readonly moved: Pick<EventDetails, 'from_hosts' | 'to_hosts'>;
}

export type OpenedGrant =
  | { readonly kind: 'open'; readonly grant: BoundGrant }
  /** `settings_unknown`: stored before settings were sealed with versions. `connector_unusable`: the connector no longer exists or cannot use them. */
  | { readonly kind: 'unusable'; readonly cause: 'value_destroyed' | 'settings_unknown' | 'connector_unusable' };

/** @throws integrity | key_destroyed */
export function openGrant(ports: JobPorts, access: ReadAccess, row: CredentialRow, version: number): OpenedGrant {
  const unusable = (cause: (OpenedGrant & { kind: 'unusable' })['cause']): OpenedGrant => ({ kind: 'unusable', cause });
  const { job } = ports;
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return unusable('value_destroyed');
  const { retained, served } = partsOf(job, row, stored);
  const settings = settingsOfVersion(row, version, retained);
  if (settings === undefined) return unusable('settings_unknown');
  const connector = findConnector(ports.connectors, 'oauth2', settings.connector);
  // The account of an older version is in its own answer, because the credential's facts are of the later grant.
  const account = version === row.current_version ? grantOf(row).account : served.account;
  const resolved =
    connector === undefined ? undefined : resolvedOrNot(connector, settings.config, account === undefined ? {} : { account });
  if (connector === undefined || resolved === undefined) return unusable('connector_unusable');
  const tokens: GrantTokens = {
    refreshToken: secretOf(retained.refresh_token),
    accessToken: secretOf(served.access_token),
    accessTokenExpiresAtMs: stored.value_expires_at,
    client: {
      clientId: settings.config.client_id,
      ...clientProofsOf(retained),
      allowLoopback: mayReachLoopback(ports.sandboxAllowed, settings.connector, settings.config),
    },
  };
  const moved = movedHosts(retained, resolved, account);
  return { kind: 'open', grant: { tokens, connector, resolved, egress: boundEgress(ports.egress, resolved), moved } };
}

/** A release may change a connector's hosts: while they differ from those at the put, the event of each use contains both. */
export function movedHosts(
  retained: RetainedGrant,
  resolved: ResolvedConnector,
  account: Readonly<Record<string, string>> | undefined,
): BoundGrant['moved'] {
  const then = retained.settings?.hosts;
  if (then === undefined) return {};
  // The account's host from the provider's answer, which is one of the connector's hosts.
  const ofAccount = hostsOf(Object.values(account ?? {}));
  const now = hostsOf(destinationsOf(resolved)).filter((host) => then.includes(host) || !ofAccount.includes(host));
  const [from_hosts, to_hosts] = [hostsAsText(then), hostsAsText(now)];
  return from_hosts === to_hosts ? {} : { from_hosts, to_hosts };
}

/** The connector's calls that ask the provider about a grant. */
export function requesterOf({ tokens, egress }: Pick<BoundGrant, 'tokens' | 'egress'>, clock: Clock): Requester {
  return { client: tokens.client, egress, clock };
}

export function wipeTokens({ refreshToken, accessToken, client }: GrantTokens): void {
  for (const secret of [refreshToken, accessToken, client.clientSecret, client.privateKeyJwk, client.privateKeyPem])
    secret?.wipe();
}

/** Undefined if the version has no token or no longer exists. */
export function fingerprintOf(job: TenantJob, access: WriteAccess, row: CredentialRow, version: number): string | undefined {
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return undefined;
  const { retained, served } = partsOf(job, row, stored);
  const token = retained.refresh_token ?? served.access_token;
  return token === undefined ? undefined : grantFingerprint(job, token);
}

/**
 * Whether revoking this version would end the access of another used credential: one with the same tokens, or with the same account if the
 * provider revokes all grants of an account. An unknown account counts as the same, because a broken workflow cannot be undone, whereas an
 * exposed token raises an alert. Known limitation: credentials of other tenants are not considered.
 */
export function isShared(
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  version: number,
  /** Resolved from the version's own settings. */
  { ends, clientId }: Pick<RevocationSpec, 'ends'> & { readonly clientId: string },
): boolean {
  const mine = fingerprintOf(job, access, row, version);
  const others = job.forecasts.liveGrantsOfClient(access, clientId).flatMap((id) => {
    const other = intact(() => job.credentials.byId(access, id));
    return other === undefined || (id === row.id && other.current_version === version) ? [] : [other];
  });
  return others.some(
    (other) =>
      (mine !== undefined && intact(() => fingerprintOf(job, access, other, other.current_version)) === mine) ||
      (ends === 'account' && other.connector === row.connector && maybeSameAccount(row, other)),
  );
}

function maybeSameAccount(row: CredentialRow, other: CredentialRow): boolean {
  // The credential itself has a new grant: its facts are of the new account, and the old account is not stored.
  if (row.id === other.id) return true;
  const [mine, theirs] = [grantOf(row).account, grantOf(other).account];
  if (mine === undefined || theirs === undefined) return true;
  return Object.keys({ ...mine, ...theirs }).every((name) => mine[name] === theirs[name]);
}

function partsOf(job: TenantJob, row: CredentialRow, stored: VersionRow): { retained: RetainedGrant; served: ServedGrant } {
  const open = <T>(field: 'retained' | 'value') => fromJsonBytes<T>(prepareVersion(job, row, stored, field).open());
  return {
    retained: stored.retained === null ? {} : open<RetainedGrant>('retained'),
    served: open<ServedGrant>('value'),
  };
}

/** The client's secret and keys, as far as there are any. */
export function clientProofsOf({ client_secret, client_private_jwk: jwk, client_private_key_pem }: RetainedGrant) {
  return {
    clientSecret: secretOf(client_secret),
    privateKeyJwk: secretOf(jwk === undefined ? undefined : JSON.stringify(jwk)),
    privateKeyPem: secretOf(client_private_key_pem),
  };
}

/** Undefined if there is none. */
export function secretOf(text: string | undefined): SecretValue | undefined {
  return text === undefined || text === '' ? undefined : SecretValue.fromText(text);
}

/** A damaged row is unreadable, so no caller depends on it. */
function intact<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}
