// Exchanges client credentials for a short-lived access token (RFC 6749 section 4.4; RFC 7523 for private_key_jwt). The answer must never
// distinguish an unknown client from a wrong secret, and an assertion must never be accepted twice.
import { createLocalJWKSet, decodeJwt, errors, exportJWK, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose';
import type { Caller, WorkloadPrincipal } from '../access/principals.ts';
import { KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping } from '../cell/access.ts';
import type { WorkloadRow } from '../cell/workloads.ts';
import { sha256 } from '../crypto/primitives.ts';
import { publicKeyId } from '../crypto/public-key.ts';
import { type IssuedToken, issueToken } from './manage-workloads.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';

export type ClientProof =
  | { readonly method: 'client_secret'; readonly clientId: string | undefined; readonly clientSecret: string }
  | { readonly method: 'private_key_jwt'; readonly clientId: string | undefined; readonly assertion: string };

/** Asymmetric only: with a shared-secret algorithm, a reader of the public keys could sign (AN-05, RFC 8725 section 3.1). */
const ALGORITHMS = ['EdDSA', 'ES256', 'ES384', 'PS256', 'RS256'];
/** The canonical form only: base64url decoders accept padding and line breaks (RFC 7515 section 2). */
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** The same answer for every refused client, and for a tenant that does not exist. */
export function refused(evidence: string): KeyturnError {
  return new KeyturnError('unauthenticated', 'the client is unknown or its proof is wrong', {
    evidence,
    extra: { error: 'invalid_client' },
  });
}

/** @throws unauthenticated, the same for an unknown client, a wrong proof, and a valid proof from a network outside the workload's */
export async function exchangeToken(
  vault: TenantVault,
  caller: Caller,
  proof: ClientProof,
  audiences: readonly string[],
): Promise<IssuedToken & { readonly workload: string }> {
  const claims = proof.method === 'private_key_jwt' ? await verifyAssertion(vault, proof.assertion, audiences) : undefined;
  return vault.submit((job) => {
    const principal = job.door.keepBooks('authentication', (books) =>
      proof.method === 'client_secret'
        ? job.authenticator.byClientSecret(books, proof.clientSecret)
        : provenBy(job, books, claims as VerifiedAssertion),
    );
    if (principal === undefined || (proof.clientId !== undefined && proof.clientId !== principal.id))
      throw refused('bad client proof');
    if (!principal.networks.contains(caller.source.address)) {
      noteForeignNetwork(vault, caller, principal);
      throw refused('foreign network');
    }
    job.door.keepBooks('authentication', (books) => job.authenticator.markProven(books, principal));
    return issue(job, caller, principal);
  });
}

/**
 * Records in the tenant's log that a valid proof came from a foreign network.
 * SECURITY: written after the answer, whose own event (record-rejection.ts) is durable before it. Waiting for a further commit would make the
 * answer to a valid proof measurably slower than to a wrong one.
 */
function noteForeignNetwork(vault: TenantVault, caller: Caller, principal: WorkloadPrincipal): void {
  const note = (job: TenantJob) =>
    job.door.refuse(principal, caller, 'token.exchange', exchangeTarget(job, principal).target, 'foreign network');
  vault.submitUnhurried(note).catch(() => {});
}

function exchangeTarget(job: TenantJob, principal: WorkloadPrincipal) {
  const { id, name, environment } = principal;
  return {
    resource: { type: 'Workload' as const, tenant: job.tenant.id, environment },
    target: { type: 'workload', id, name, environment },
    subject: true as const,
  };
}

function issue(job: TenantJob, caller: Caller, principal: WorkloadPrincipal): IssuedToken & { readonly workload: string } {
  return job.door.enterAs(
    principal,
    caller,
    'token.exchange',
    () => exchangeTarget(job, principal),
    (access, _subject, details) => {
      const expiresAtMs = Math.min(job.platform.clock.now() + LIMITS.accessTokenTtlDefaultMs, principal.expiresAtMs);
      const issued = issueToken(job, access, {
        type: 'acc',
        subjectId: principal.id,
        expiresAtMs,
        origin: principal.tokenId,
      });
      details.token = issued.publicId;
      return { ...issued, workload: principal.id };
    },
  );
}

interface VerifiedAssertion {
  readonly workloadId: string;
  /** The id of the key that signed it (crypto/public-key.ts). */
  readonly keyId: string;
  readonly jti: string;
  readonly expiresAtMs: number;
}

function provenBy(
  job: TenantJob,
  books: Bookkeeping<'authentication'>,
  claims: VerifiedAssertion,
): WorkloadPrincipal | undefined {
  const row = job.workloads.find(books, claims.workloadId);
  if (row === undefined) return undefined;
  const jtiHash = sha256(new TextEncoder().encode(`${row.id}\n${claims.jti}`));
  if (!job.workloads.claimAssertion(books, jtiHash, claims.expiresAtMs + LIMITS.clockSkewMs)) throw refused('assertion replayed');
  return job.authenticator.byProof(row, claims.keyId);
}

async function verifyAssertion(vault: TenantVault, assertion: string, audiences: readonly string[]): Promise<VerifiedAssertion> {
  const subject = unverifiedSubject(assertion);
  const row = vault.lookup('authentication', (lookup, view): WorkloadRow | undefined => view.workloads.find(lookup, subject));
  if (row === undefined || row.id !== subject || row.jwks === null) throw refused('unknown client');
  try {
    const { payload, key } = await jwtVerify(assertion, createLocalJWKSet(JSON.parse(row.jwks) as JSONWebKeySet), {
      algorithms: ALGORITHMS,
      audience: [...audiences],
      issuer: row.id,
      subject: row.id,
      requiredClaims: ['exp', 'iat', 'jti'],
      maxTokenAge: LIMITS.clientAssertionMaxAgeMs / 1_000,
      clockTolerance: LIMITS.clockSkewMs / 1_000,
      currentDate: new Date(vault.platform.clock.now()),
    });
    return {
      ...verifiedClaims(payload, vault.platform.clock.now()),
      workloadId: row.id,
      keyId: publicKeyId(await exportJWK(key)),
    };
  } catch (error) {
    if (error instanceof KeyturnError) throw error;
    throw refused(error instanceof errors.JOSEError ? error.code : 'assertion');
  }
}

/** What jose leaves to us, as strict as RFC 7523 section 3 allows. */
function verifiedClaims({ aud, jti, exp, iat, nbf }: JWTPayload, nowMs: number): Pick<VerifiedAssertion, 'jti' | 'expiresAtMs'> {
  // SECURITY: whole seconds only (AN-08): JSON.parse reads 1e400 as Infinity, which the database cannot store.
  const isTimed = [exp, iat, nbf ?? iat].every((time) => Number.isSafeInteger(time));
  const expiresAtMs = Number(exp) * 1_000;
  // The jti is stored until the assertion expires, so its lifetime is bounded.
  const endsSoon = expiresAtMs <= nowMs + LIMITS.clientAssertionTtlMaxMs;
  // SECURITY: exact audience (AN-10): one string, not a list that includes this service.
  const isOurs = typeof aud === 'string';
  if (!isTimed || !endsSoon || !isOurs || typeof jti !== 'string' || jti.length === 0 || jti.length > 256)
    throw refused('claims');
  return { jti, expiresAtMs };
}

/** Used only to find the key set; nothing is trusted before the signature is verified. */
function unverifiedSubject(assertion: string): string {
  if (!COMPACT_JWS.test(assertion)) throw refused('not a compact JWS');
  try {
    const { sub } = decodeJwt(assertion);
    if (typeof sub === 'string' && sub.length <= 64) return sub;
  } catch {
    // Not a JSON object: refused below, as every other bad proof.
  }
  throw refused('no subject');
}
