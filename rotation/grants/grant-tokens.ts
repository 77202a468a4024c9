// Opens the secrets of one version together with the only settings, and the only way out, that they may be used with (D14); tells whether
// another credential lives on the same grant. It must never hand them to anyone but code of the engine, inside the job that journals why.

import type { EventDetails } from '../../src/audit/event.ts';
import type { Clock } from '../../src/base/clock.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
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

/** One version's secrets, and what they may be used with. */
export interface BoundGrant {
  readonly tokens: GrantTokens;
  readonly connector: OAuthConnector;
  /** Of the version's own settings. */
  readonly resolved: ResolvedConnector;
  /** Lets nothing out but to the endpoints of `resolved`. */
  readonly egress: Egress;
  /** For the event of the use: where its connector goes now and went then, if that differs. */
  readonly moved: Pick<EventDetails, 'from_hosts' | 'to_hosts'>;
}

export type OpenedGrant =
  | { readonly kind: 'open'; readonly grant: BoundGrant }
  /** `settings_unknown`: stored before settings were sealed with versions. `connector_unusable`: gone, or cannot work with them. */
  | { readonly kind: 'unusable'; readonly cause: 'value_destroyed' | 'settings_unknown' | 'connector_unusable' };

/** @throws integrity | key_destroyed */
export function openGrant(ports: JobPorts, access: WriteAccess, row: CredentialRow, version: number): OpenedGrant {
  const unusable = (cause: (OpenedGrant & { kind: 'unusable' })['cause']): OpenedGrant => ({ kind: 'unusable', cause });
  const { job } = ports;
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return unusable('value_destroyed');
  const { retained, served } = partsOf(job, row, stored);
  const settings = settingsOfVersion(row, version, retained);
  if (settings === undefined) return unusable('settings_unknown');
  const connector = findConnector(ports.connectors, 'oauth2', settings.connector);
  // Of a version that is not current its own answer tells the account: the facts are of the grant that came after it.
  const account = version === row.current_version ? grantOf(row).account : served.account;
  const resolved =
    connector === undefined ? undefined : resolvedOrNot(connector, settings.config, account === undefined ? {} : { account });
  if (connector === undefined || resolved === undefined) return unusable('connector_unusable');
  const jwk = retained.client_private_jwk;
  const tokens: GrantTokens = {
    refreshToken: secretOf(retained.refresh_token),
    accessToken: secretOf(served.access_token),
    accessTokenExpiresAtMs: stored.value_expires_at,
    client: {
      clientId: settings.config.client_id,
      clientSecret: secretOf(retained.client_secret),
      privateKeyJwk: jwk === undefined ? undefined : SecretValue.fromText(JSON.stringify(jwk)),
      privateKeyPem: secretOf(retained.client_private_key_pem),
      allowLoopback: mayReachLoopback(ports.sandboxAllowed, settings.connector, settings.config),
    },
  };
  const moved = movedHosts(retained, resolved, account);
  return { kind: 'open', grant: { tokens, connector, resolved, egress: boundEgress(ports.egress, resolved), moved } };
}

/** What a connector declares may change with a release: told in the event of each use, for as long as it differs from the day of the put. */
export function movedHosts(
  retained: RetainedGrant,
  resolved: ResolvedConnector,
  account: Readonly<Record<string, string>> | undefined,
): BoundGrant['moved'] {
  const then = retained.settings?.hosts;
  if (then === undefined) return {};
  // Where the provider itself said that the account lives, within the connector's hosts.
  const ofAccount = hostsOf(Object.values(account ?? {}));
  const now = hostsOf(destinationsOf(resolved)).filter((host) => then.includes(host) || !ofAccount.includes(host));
  const [from_hosts, to_hosts] = [hostsAsText(then), hostsAsText(now)];
  return from_hosts === to_hosts ? {} : { from_hosts, to_hosts };
}

/** What asks the provider about the grant. */
export function requesterOf({ tokens, egress }: Pick<BoundGrant, 'tokens' | 'egress'>, clock: Clock): Requester {
  return { client: tokens.client, egress, clock };
}

export function wipeTokens({ refreshToken, accessToken, client }: GrantTokens): void {
  for (const secret of [refreshToken, accessToken, client.clientSecret, client.privateKeyJwk, client.privateKeyPem])
    secret?.wipe();
}

/** Undefined where a version holds neither token, or is gone. */
export function fingerprintOf(job: TenantJob, access: WriteAccess, row: CredentialRow, version: number): string | undefined {
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return undefined;
  const { retained, served } = partsOf(job, row, stored);
  const token = retained.refresh_token ?? served.access_token;
  return token === undefined ? undefined : grantFingerprint(job, token);
}

/**
 * Whether revoking this version would end the access of a credential that someone uses: the same tokens, or the same account where the
 * provider ends all of an account. An account that nobody told counts as the same: a broken workflow is not undone, an exposed token is
 * told. Known hole: credentials of other tenants are not looked at.
 */
export function isShared(
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  version: number,
  /** Of the version's own settings. */
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
  // A new grant of the credential itself: its facts are of the new account, and which one the old was is not kept.
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

/** Undefined where there is none. */
export function secretOf(text: string | undefined): SecretValue | undefined {
  return text === undefined || text === '' ? undefined : SecretValue.fromText(text);
}

/** A damaged row cannot be read by anyone: nobody's access hangs on it. */
function intact<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}
