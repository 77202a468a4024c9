// A keyed hash of a refresh token: detects that two credentials contain the same grant without storing the token.
// It must never be served. It is stored with the grant's facts, and computing or testing one needs the root key.
import { hmacSha256 } from '../crypto/primitives.ts';
import type { TenantJob } from './tenant-job.ts';

/** The same for the same refresh token in every cell of the installation. */
export function grantFingerprint(job: TenantJob, refreshToken: string): string {
  const mac = hmacSha256(job.platform.root.subkey('grant-fingerprint'), new TextEncoder().encode(refreshToken));
  return Buffer.from(mac.subarray(0, 16)).toString('base64url');
}
