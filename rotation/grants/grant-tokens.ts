// Opens the tokens of one version for a call at the provider, and tells whether another credential lives on the same grant.
// It must never hand them to anyone but code of the engine, inside the job that journals what they are for.
import { KeyturnError } from '../../src/base/errors.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow, VersionRow } from '../../src/cell/credentials.ts';
import { fromJsonBytes, type OAuth2Config, type RetainedGrant, type ServedGrant } from '../../src/vault/credential-kinds.ts';
import { grantFacts } from '../../src/vault/grant-facts.ts';
import { grantFingerprint } from '../../src/vault/grant-fingerprint.ts';
import { prepareVersion } from '../../src/vault/read-credential.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { RevocationSpec } from '../connector.ts';
import type { ClientIdentity } from '../oauth2/client-request.ts';

export interface GrantTokens {
  readonly refreshToken: SecretValue | undefined;
  readonly accessToken: SecretValue | undefined;
  readonly accessTokenExpiresAtMs: number | null;
  readonly client: ClientIdentity;
}

/** Undefined where the version is gone. @throws integrity | key_destroyed */
export function openTokens(
  vault: TenantVault,
  access: WriteAccess,
  row: CredentialRow,
  version: number,
  allowLoopback: boolean,
): GrantTokens | undefined {
  const stored = vault.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return undefined;
  const { retained, served } = partsOf(vault, row, stored);
  const config = JSON.parse(row.config) as OAuth2Config;
  const jwk = retained.client_private_jwk;
  return {
    refreshToken: secretOf(retained.refresh_token),
    accessToken: secretOf(served.access_token),
    accessTokenExpiresAtMs: stored.value_expires_at,
    client: {
      clientId: config.client_id,
      clientSecret: secretOf(retained.client_secret),
      privateKeyJwk: jwk === undefined ? undefined : SecretValue.fromText(JSON.stringify(jwk)),
      privateKeyPem: secretOf(retained.client_private_key_pem),
      allowLoopback,
    },
  };
}

export function wipeTokens({ refreshToken, accessToken, client }: GrantTokens): void {
  for (const secret of [refreshToken, accessToken, client.clientSecret, client.privateKeyJwk, client.privateKeyPem])
    secret?.wipe();
}

/** Undefined where a version holds neither token, or is gone. */
export function fingerprintOf(vault: TenantVault, access: WriteAccess, row: CredentialRow, version: number): string | undefined {
  const stored = vault.credentials.findVersion(access, row.id, version);
  if (stored === undefined) return undefined;
  const { retained, served } = partsOf(vault, row, stored);
  const token = retained.refresh_token ?? served.access_token;
  return token === undefined ? undefined : grantFingerprint(vault, token);
}

/**
 * Whether revoking this version would end the access of a credential that someone uses: the same tokens, or the same account where the
 * provider ends all of an account. An account that nobody told counts as the same: a broken workflow is not undone, an exposed token is
 * told. Known hole: credentials of other tenants are not looked at.
 */
export function isShared(
  vault: TenantVault,
  access: WriteAccess,
  row: CredentialRow,
  version: number,
  spec: Pick<RevocationSpec, 'ends'>,
): boolean {
  const { client_id: clientId } = JSON.parse(row.config) as OAuth2Config;
  const mine = fingerprintOf(vault, access, row, version);
  const others = vault.revocations.liveGrantsOfClient(access, clientId).flatMap((id) => {
    const other = intact(() => vault.credentials.byId(access, id));
    return other === undefined || (id === row.id && other.current_version === version) ? [] : [other];
  });
  return others.some(
    (other) =>
      (mine !== undefined && intact(() => fingerprintOf(vault, access, other, other.current_version)) === mine) ||
      (spec.ends === 'account' && other.connector === row.connector && maybeSameAccount(row, other)),
  );
}

function maybeSameAccount(row: CredentialRow, other: CredentialRow): boolean {
  // A new grant of the credential itself: its facts are of the new account, and which one the old was is not kept.
  if (row.id === other.id) return true;
  const [mine, theirs] = [grantFacts(row).account, grantFacts(other).account];
  if (mine === undefined || theirs === undefined) return true;
  return Object.keys({ ...mine, ...theirs }).every((name) => mine[name] === theirs[name]);
}

function partsOf(vault: TenantVault, row: CredentialRow, stored: VersionRow): { retained: RetainedGrant; served: ServedGrant } {
  const open = <T>(field: 'retained' | 'value') => fromJsonBytes<T>(prepareVersion(vault, row, stored, field).open());
  return {
    retained: stored.retained === null ? {} : open<RetainedGrant>('retained'),
    served: open<ServedGrant>('value'),
  };
}

function secretOf(text: string | undefined): SecretValue | undefined {
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
