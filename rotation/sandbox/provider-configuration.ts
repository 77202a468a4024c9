// The configuration of oidc-provider as a strict sandbox, with every setting that it would otherwise warn about.
// Its secrets are created at each start. It must never be used for a real provider.
import { randomBytes } from 'node:crypto';
import type { JWK } from 'jose';
import { type ClientMetadata, type Configuration, interactionPolicy } from 'oidc-provider';
import { createGrantStore } from './grant-store.ts';
import type { SandboxClient, SandboxOptions } from './sandbox-options.ts';

const FOURTEEN_DAYS_SECONDS = 14 * 24 * 60 * 60;
const ONE_DAY_SECONDS = 24 * 60 * 60;

export function providerConfiguration(
  options: SandboxOptions,
  issuer: string,
  { client, signingKey }: { readonly client: SandboxClient; readonly signingKey: JWK },
): Configuration {
  const policy = interactionPolicy.base();
  policy.remove('consent'); // signing in implies consent: see loadExistingGrant
  return {
    adapter: createGrantStore(Date.now),
    clients: [clientOf(client, issuer)],
    jwks: { keys: [signingKey as { kty: string }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    findAccount: (_ctx, accountId) => ({
      accountId,
      claims: async () => ({ sub: accountId, email: `${accountId}@sandbox.invalid` }),
    }),
    claims: { openid: ['sub'], email: ['email'] },
    interactions: { policy, url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant,
    // RFC 9700 section 4.14.2: every use rotates the token; the reuse of one ends the grant.
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    expiresWithSession: async () => false,
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    renderError: async (ctx, out) => {
      ctx.type = 'json';
      ctx.body = { error: out.error };
    },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true, allowedPolicy: async (_ctx, asking, token) => asking.clientId === token.clientId },
      userinfo: { enabled: true },
      rpInitiatedLogout: { enabled: false },
    },
    ttl: lifetimesOf(options),
  };
}

function clientOf({ id, secret, authentication, publicKeyJwk }: SandboxClient, issuer: string): ClientMetadata {
  return {
    client_id: id,
    redirect_uris: [`${issuer}/callback`],
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: authentication,
    id_token_signed_response_alg: 'ES256',
    ...(authentication === 'private_key_jwt'
      ? { jwks: { keys: [publicKeyJwk as { kty: string }] }, token_endpoint_auth_signing_alg: 'ES256' as const }
      : { client_secret: secret }),
  };
}

const loadExistingGrant: NonNullable<Configuration['loadExistingGrant']> = async (ctx) => {
  const { session, client: asking, provider } = ctx.oidc;
  if (session?.accountId === undefined || asking === undefined) return undefined;
  const grant = new provider.Grant({ accountId: session.accountId, clientId: asking.clientId });
  grant.addOIDCScope('openid email');
  await grant.save();
  return grant;
};

function lifetimesOf({
  accessTokenTtlSeconds = 60,
  refreshTokenTtlSeconds = FOURTEEN_DAYS_SECONDS,
}: SandboxOptions): NonNullable<Configuration['ttl']> {
  return {
    AccessToken: accessTokenTtlSeconds,
    RefreshToken: refreshTokenTtlSeconds,
    Grant: refreshTokenTtlSeconds,
    Session: ONE_DAY_SECONDS,
    Interaction: 600,
    IdToken: 600,
    AuthorizationCode: 60,
  };
}
