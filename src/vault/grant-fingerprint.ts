// Tells whether two credentials hold the same grant without keeping anything of its refresh token: a keyed hash.
// It must never be served; it lies in the grant's facts, and whoever lacks the root key can neither make nor test one.
import { hmacSha256 } from '../crypto/primitives.ts';
import type { TenantJob } from './tenant-job.ts';

/** The same for the same refresh token in every cell of the installation. */
export function grantFingerprint(job: TenantJob, refreshToken: string): string {
  const mac = hmacSha256(job.platform.root.subkey('grant-fingerprint'), new TextEncoder().encode(refreshToken));
  return Buffer.from(mac.subarray(0, 16)).toString('base64url');
}
