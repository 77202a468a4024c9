// Microsoft, delegated: Dynamics 365, Graph and other services with Entra ID. A person's grant; a token is valid for one resource.
// Errors are read by the numbers in error_codes, never by their text.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'microsoft-oauth',
  title: 'Microsoft (Dynamics 365, Microsoft 365)',
  kind: 'oauth2',
  parameters: [
    {
      name: 'tenant',
      title: 'Directory (tenant) id, or organizations, common, consumers',
      shape: 'label',
      default: 'organizations',
    },
  ],
  oauth2: {
    tokenEndpoint: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token',
    hosts: ['login.microsoftonline.com', 'graph.microsoft.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    errorTable: [
      { code: '7000215', means: 'configuration', cause: 'wrong_client_secret' },
      { code: '7000222', means: 'configuration', cause: 'client_secret_expired' },
      { code: '700082', means: 'dead', cause: 'idle_too_long' },
      { code: '70008', means: 'dead', cause: 'expired_or_revoked' },
      { code: '50173', means: 'dead', cause: 'revoked_by_change_of_credentials' },
      { code: '65001', means: 'dead', cause: 'consent_missing' },
      { code: '50076', means: 'dead', cause: 'second_factor_needed' },
      { code: '50079', means: 'dead', cause: 'second_factor_needed' },
    ],
  },
  adjustable: ['clientAuthentication', 'assertionAudience', 'tokenEndpoint'],
  consent: {
    authorizeEndpoint: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize',
    pkce: 'S256',
    extraParameters: { response_mode: 'query' },
    alwaysScopes: ['offline_access'],
    scopeTitles: {
      offline_access: 'Stay connected while nobody is signed in',
      openid: 'Know who connected',
      'User.Read': 'Read the profile of the person',
      'Mail.Read': 'Read mail',
      'Mail.Send': 'Send mail as the person',
      'Calendars.Read': 'Read calendars',
      'Calendars.ReadWrite': 'Read and change calendars',
      'Files.Read.All': 'Read files the person may open',
      'Files.ReadWrite.All': 'Read and change files the person may open',
      'Sites.Read.All': 'Read SharePoint sites',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'jwt', claim: 'scp' }],
  lifetimes: { idleSeconds: 90 * 86_400 },
  // Graph rejects a valid token for another resource (Dynamics): only a success is conclusive.
  probe: { url: 'https://graph.microsoft.com/v1.0/me', method: 'GET', rejectedBy: [] },
  persona: {
    expiresIn: 'number',
    accessTokenIs: 'jwt',
    graceSeconds: 90 * 86_400,
    alsoAnswers: { ext_expires_in: 3_599 },
    refusals: {
      dead: {
        status: 400,
        body: {
          error: 'invalid_grant',
          error_description: 'AADSTS700082: the refresh token has expired due to inactivity',
          error_codes: [700_082],
        },
      },
      configuration: {
        status: 401,
        body: {
          error: 'invalid_client',
          error_description: 'AADSTS7000222: the client secret keys are expired',
          error_codes: [7_000_222],
        },
      },
      transient: { status: 503, body: { error: 'temporarily_unavailable', error_codes: [90_033] } },
    },
  },
  manualSteps: [
    'Connect the account again by a link.',
    'For Dynamics 365 let a workflow need https://{org}.crm.dynamics.com/user_impersonation; all scopes of one credential belong to one resource.',
    'For a certificate set client_authentication to private_key_jwt and put the key as a JWK with x5t#S256.',
    'National clouds: set base_urls for login.microsoftonline.com, e.g. login.microsoftonline.us.',
    'To withdraw a grant, remove the consent of the app in Entra ID, or revoke the sign-in sessions of the person: there is no call for one grant.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/v2-oauth2-auth-code-flow.md',
    },
    'oauth2.clientAuthentication': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/v2-oauth2-auth-code-flow.md',
    },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/refresh-tokens.md',
    },
    'oauth2.lostAnswer': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/refresh-tokens.md: a used refresh token is not revoked',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'known',
      source: 'MicrosoftDocs/entra-docs: 60 to 90 minutes, told in expires_in',
    },
    'oauth2.errorTable': {
      sureness: 'seen',
      source: 'AADSTS numbers in several public projects; Microsoft says to read error_codes',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'throttling of the token endpoint has no published figure' },
    'consent.authorizeEndpoint': {
      sureness: 'documented',
      source: 'MicrosoftDocs/entra-docs docs/identity-platform/v2-oauth2-auth-code-flow.md',
    },
    'consent.pkce': { sureness: 'documented', source: 'MicrosoftDocs/entra-docs: recommended for every client' },
    'scopes.jwt': {
      sureness: 'known',
      source: 'scp of tokens for Dataverse; Graph tokens are opaque by contract, and the answer comes first',
    },
    'lifetimes.idleSeconds': {
      sureness: 'documented',
      source:
        'MicrosoftDocs/entra-docs refresh-tokens.md: 90 days; 24 hours for single-page apps, which this connector is not for',
    },
    revocation: {
      sureness: 'documented',
      source: 'no RFC 7009 endpoint; Graph revokeSignInSessions ends all sessions of a person',
    },
    probe: { sureness: 'known', source: 'https://learn.microsoft.com/graph/api/user-get' },
  },
};
