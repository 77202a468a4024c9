// Microsoft, app only: client credentials with a secret or a certificate. No person, no refresh token, nothing to lose.
// Errors are read by the numbers in error_codes, never by their text.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'microsoft-app',
  title: 'Microsoft (app only)',
  kind: 'oauth2',
  parameters: [{ name: 'tenant', title: 'Directory (tenant) id', shape: 'label' }],
  oauth2: {
    tokenEndpoint: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token',
    // Its token is also the admin credential of microsoft-app-secret.
    hosts: ['login.microsoftonline.com', 'graph.microsoft.com'],
    renewal: { kind: 'client_credentials' },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    errorTable: [
      { code: '7000215', means: 'configuration', cause: 'wrong_client_secret' },
      { code: '7000222', means: 'configuration', cause: 'client_secret_expired' },
      // There is no consent of a person: an administrator grants missing permissions.
      { code: 'invalid_grant', means: 'configuration', cause: 'app_not_granted' },
    ],
  },
  adjustable: ['clientAuthentication', 'assertionAudience', 'tokenEndpoint'],
  scopes: [{ from: 'jwt', claim: 'roles' }],
  persona: {
    expiresIn: 'number',
    accessTokenIs: 'jwt',
    scopeAs: 'absent',
    alsoAnswers: { ext_expires_in: 3_599 },
    refusals: {
      configuration: {
        status: 401,
        body: {
          error: 'invalid_client',
          error_description: 'AADSTS7000215: invalid client secret provided',
          error_codes: [7_000_215],
        },
      },
      transient: { status: 503, body: { error: 'temporarily_unavailable', error_codes: [90_033] } },
    },
  },
  manualSteps: [
    'Set scope to {resource}/.default, e.g. https://graph.microsoft.com/.default: it stands for all that an administrator granted the app.',
    'For a certificate set client_authentication to private_key_jwt and put the key as a JWK with x5t#S256.',
    'Set client_secret_expires_at: Entra ends every client secret, and the forecast then says when.',
    'To withdraw access, remove the app’s permissions in Entra ID; tokens that exist live on for about an hour.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/v2-oauth2-client-creds-grant-flow.md',
    },
    'oauth2.clientAuthentication': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs: client_secret, or client_assertion signed by a certificate',
    },
    'oauth2.refreshTokenRotates': { sureness: 'documented', source: 'RFC 6749 section 4.4.3: no refresh token comes' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is spent by asking' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'known',
      source: 'MicrosoftDocs/entra-docs: 60 to 90 minutes, told in expires_in',
    },
    'oauth2.errorTable': {
      sureness: 'seen',
      source: 'AADSTS numbers in several public projects; Microsoft says to read error_codes',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'throttling of the token endpoint has no published figure' },
    'scopes.jwt': {
      sureness: 'known',
      source: 'roles of app tokens; Graph tokens are opaque by contract, and then nothing is read',
    },
    revocation: { sureness: 'documented', source: 'no RFC 7009 endpoint' },
    probe: { sureness: 'unknown', source: 'depends on the resource and the permissions granted' },
  },
};
