// A JWT for one request: the assertion of RFC 7523 section 2.1, or the token of an app for itself. It is valid for minutes at most, and it
// must never be used for two requests nor leave this module outside of a SecretValue.

import { SignJWT } from 'jose';
import { generateRandomState } from 'oauth4webapi';
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { AssertionSpec } from '../connector.ts';
import { type ClientIdentity, importClientKey, Unusable } from './client-key.ts';

/** @throws Unusable if the secret or key is missing or unusable */
export async function signAssertion(
  spec: AssertionSpec,
  client: ClientIdentity,
  endpoint: string,
  scope: string | undefined,
  clock: Clock,
): Promise<SecretValue> {
  const { key, header } = await signingKey(spec, client);
  const lifetime = Math.min(spec.lifetimeSeconds, LIMITS.sentAssertionTtlMaxSeconds);
  const iat = Math.floor(clock.now() / 1_000) - Math.min(LIMITS.sentAssertionBackdateMaxSeconds, Math.floor(lifetime / 2));
  const claims = {
    iss: client.clientId,
    ...(spec.subject === undefined ? {} : { sub: spec.subject }),
    aud: spec.audience ?? endpoint,
    iat,
    exp: iat + lifetime,
    jti: generateRandomState(),
    ...(spec.scopeIn === 'claim' && scope !== undefined && scope !== '' ? { scope } : {}),
  };
  try {
    const signed = await new SignJWT(claims).setProtectedHeader({ typ: 'JWT', ...header, alg: spec.algorithm }).sign(key);
    return SecretValue.fromText(signed);
  } catch {
    throw new Unusable('client_key_unusable');
  } finally {
    if (key instanceof Uint8Array) key.fill(0);
  }
}

async function signingKey(spec: AssertionSpec, client: ClientIdentity) {
  if (spec.algorithm !== 'HS256') return importClientKey(client, spec.algorithm);
  const { clientSecret } = client;
  if (clientSecret === undefined || clientSecret.byteLength === 0) throw new Unusable('client_secret_missing');
  return { key: clientSecret.reveal((bytes) => Uint8Array.from(bytes)), header: {} };
}
