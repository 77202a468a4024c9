// Client authentication in the sandbox, as the connector declares it (RFC 6749 section 2.3, RFC 7523). One fictitious client is
// known everywhere; its keys are created at each start. It must never accept or hold a real client's secret.
import { createHash } from 'node:crypto';
import { type CryptoKey, decodeJwt, exportJWK, exportPKCS8, generateKeyPair, importJWK, type JWK, jwtVerify } from 'jose';
import type { AssertionSpec, ClientAuthentication, OAuthConnector } from '../connector.ts';
import type { Ask } from './persona-ask.ts';

/**
 * Known to every persona. `keyturn-sandbox.<connector>` is the same client and selects the connector if two have the same
 * address; a further part after a dot distinguishes clients of one connector.
 */
export const CLIENT_ID = 'keyturn-sandbox';
export const CLIENT_SECRET = 'keyturn-sandbox-secret-that-is-not-a-real-secret';

export interface ClientKeyPair {
  readonly privateJwk: JWK;
  readonly privatePem: string;
  readonly publicKey: CryptoKey;
}

/** Undefined client id: the client authenticated without an id (`client_secret_as_user`). */
export type Authenticated =
  | { readonly ok: true; readonly clientId: string | undefined }
  | { readonly ok: false; readonly why: string };

const refused = (why: string): Authenticated => ({ ok: false, why });
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const LIFETIME_MAX_SECONDS = 3_600;
const SKEW_SECONDS = 30;

export class PersonaClients {
  readonly #pairs = new Map<string, Promise<ClientKeyPair>>();
  readonly #registered: { readonly algorithm: string; readonly key: CryptoKey }[] = [];
  readonly #seenIds = new Set<string>();

  /** The fictitious client's key pair, created at first use. */
  keyPair(algorithm: 'RS256' | 'ES256'): Promise<ClientKeyPair> {
    const made = this.#pairs.get(algorithm) ?? makePair(algorithm);
    this.#pairs.set(algorithm, made);
    return made;
  }

  /** Adds a public key of the client. @throws TypeError if it is not a public key */
  async registerKey(jwk: JWK): Promise<void> {
    const algorithm = jwk.alg ?? 'RS256';
    const key = await importJWK({ ...jwk, alg: algorithm });
    if (key instanceof Uint8Array || key.type !== 'public') throw new TypeError('a public key is needed');
    this.#registered.push({ algorithm, key });
  }

  knows(clientId: string, connectorId: string): boolean {
    const name = `${CLIENT_ID}.${connectorId}`;
    return clientId === CLIENT_ID || clientId === name || clientId.startsWith(`${name}.`);
  }

  async authenticate(
    connector: OAuthConnector,
    declared: ClientAuthentication | 'bearer',
    ask: Ask,
    audiences: readonly string[],
    nowMs: number,
  ): Promise<Authenticated> {
    const { basic, fields } = ask;
    if (declared === 'bearer') return { ok: true, clientId: undefined };
    const used = proofOf(declared, ask);
    if (used === undefined) return refused('a client must use one authentication method only');
    const free = connector.adjustable?.includes('clientAuthentication') === true;
    if (used !== declared && !free) return refused(`the client must authenticate with ${declared}`);
    switch (used) {
      case 'client_secret_as_user':
        return basic?.user === CLIENT_SECRET && basic.password === ''
          ? { ok: true, clientId: undefined }
          : refused('the secret is wrong');
      case 'client_secret_basic':
        return this.#named(connector, basic?.user, basic?.password);
      case 'client_secret_post':
        return this.#named(connector, fields['client_id'], fields['client_secret']);
      case 'private_key_jwt':
        return this.#asserted(connector, ask, audiences, nowMs);
      case 'none':
        return this.#named(connector, fields['client_id'], CLIENT_SECRET);
    }
  }

  /** RFC 7523 section 3. @returns the signer and the claims */
  async verifyGrantAssertion(
    connector: OAuthConnector,
    spec: AssertionSpec,
    assertion: string,
    audiences: readonly string[],
    nowMs: number,
  ): Promise<{ readonly clientId: string; readonly claims: Readonly<Record<string, unknown>> } | { readonly why: string }> {
    const checked = await this.#verify(assertion, spec.algorithm, audiences, nowMs);
    if ('why' in checked) return checked;
    const clientId = checked.claims['iss'];
    if (typeof clientId !== 'string' || !this.knows(clientId, connector.id)) return { why: 'iss is no client here' };
    if (spec.subject !== undefined && typeof checked.claims['sub'] !== 'string') return { why: 'sub is missing' };
    return { clientId, claims: checked.claims };
  }

  #named(connector: OAuthConnector, clientId: string | undefined, secret: string | undefined): Authenticated {
    if (clientId === undefined || !this.knows(clientId, connector.id)) return refused('the client is unknown');
    return secret === CLIENT_SECRET ? { ok: true, clientId } : refused('the secret is wrong');
  }

  async #asserted(connector: OAuthConnector, ask: Ask, audiences: readonly string[], nowMs: number): Promise<Authenticated> {
    const { client_assertion: assertion = '', client_assertion_type: type, client_id: named } = ask.fields;
    if (type !== ASSERTION_TYPE) return refused('client_assertion_type is wrong');
    const expected = connector.adjustable?.includes('assertionAudience') ? undefined : audiences;
    const checked = await this.#verify(assertion, undefined, expected, nowMs);
    if ('why' in checked) return refused(checked.why);
    const { iss, sub } = checked.claims;
    if (typeof iss !== 'string' || iss !== sub || !this.knows(iss, connector.id))
      return refused('iss and sub must be the client');
    return named === undefined || named === iss ? { ok: true, clientId: iss } : refused('client_id is not who signed');
  }

  async #verify(
    jwt: string,
    algorithm: string | undefined,
    audiences: readonly string[] | undefined,
    nowMs: number,
  ): Promise<{ readonly claims: Readonly<Record<string, unknown>> } | { readonly why: string }> {
    const nowSeconds = nowMs / 1_000;
    for (const { algorithm: alg, key } of await this.#keys()) {
      if (algorithm !== undefined && alg !== algorithm) continue;
      try {
        const { payload } = await jwtVerify(jwt, key, {
          algorithms: [alg],
          currentDate: new Date(nowMs),
          ...(audiences === undefined ? {} : { audience: [...audiences] }),
        });
        const { iat = 0, exp, jti } = payload;
        if (exp === undefined || exp - iat > LIFETIME_MAX_SECONDS) return { why: 'the assertion lives too long' };
        if (iat > nowSeconds + SKEW_SECONDS) return { why: 'the assertion is from the future' };
        if (jti !== undefined && this.#seenIds.has(jti)) return { why: 'the assertion was used before' };
        if (jti !== undefined) this.#seenIds.add(jti);
        return { claims: payload };
      } catch {
        // Another key may fit.
      }
    }
    return { why: 'no key of the client verifies the assertion for this audience and time' };
  }

  async #keys(): Promise<{ algorithm: string; key: CryptoKey | Uint8Array }[]> {
    const own = await Promise.all(
      [...this.#pairs].map(async ([algorithm, pair]) => ({ algorithm, key: (await pair).publicKey })),
    );
    return [...this.#registered, ...own, { algorithm: 'HS256', key: new TextEncoder().encode(CLIENT_SECRET) }];
  }
}

/** The claimed client of a call, before authentication, to select the connector. */
export function claimedClient(ask: Ask): string | undefined {
  const { fields, basic, bearer, query } = ask;
  const named = fields['client_id'] ?? query.get('client_id') ?? basic?.user;
  if (named !== undefined) return named;
  for (const jwt of [fields['client_assertion'], fields['assertion'], bearer]) {
    if (jwt === undefined) continue;
    try {
      const { iss } = decodeJwt(jwt);
      if (iss !== undefined) return iss;
    } catch {
      // An opaque token.
    }
  }
  return undefined;
}

/** Undefined if there is more than one. */
function proofOf(declared: ClientAuthentication, { basic, fields }: Ask): ClientAuthentication | undefined {
  const asserted = fields['client_assertion'];
  if ([basic, fields['client_secret'], asserted].filter((proof) => proof !== undefined).length > 1) return undefined;
  if (basic !== undefined) return basicKind(declared);
  return asserted !== undefined ? 'private_key_jwt' : plainKind(fields);
}

function basicKind(declared: ClientAuthentication): ClientAuthentication {
  return declared === 'client_secret_as_user' ? declared : 'client_secret_basic';
}

function plainKind(fields: Readonly<Record<string, string>>): ClientAuthentication {
  return fields['client_secret'] === undefined ? 'none' : 'client_secret_post';
}

async function makePair(algorithm: 'RS256' | 'ES256'): Promise<ClientKeyPair> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  const kid = createHash('sha256')
    .update(JSON.stringify(await exportJWK(publicKey)))
    .digest('hex')
    .slice(0, 16);
  return {
    privateJwk: { ...(await exportJWK(privateKey)), alg: algorithm, kid: `${kid}-not-a-real-secret` },
    privatePem: await exportPKCS8(privateKey),
    publicKey,
  };
}
