// Every connector by its id. Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand.
import type { Connector } from './connector.ts';
import { connector as asanaOauth } from './connectors/asana-oauth.ts';
import { connector as atlassianOauth } from './connectors/atlassian-oauth.ts';
import { connector as calendlyOauth } from './connectors/calendly-oauth.ts';
import { connector as clickupOauth } from './connectors/clickup-oauth.ts';
import { connector as genericOauth2 } from './connectors/generic-oauth2.ts';
import { connector as genericOidc } from './connectors/generic-oidc.ts';
import { connector as githubAppInstallation } from './connectors/github-app-installation.ts';
import { connector as githubAppUser } from './connectors/github-app-user.ts';
import { connector as googleOauth } from './connectors/google-oauth.ts';
import { connector as googleServiceAccount } from './connectors/google-service-account.ts';
import { connector as hubspotOauth } from './connectors/hubspot-oauth.ts';
import { connector as intercomOauth } from './connectors/intercom-oauth.ts';
import { connector as localSandbox } from './connectors/local-sandbox.ts';
import { connector as microsoftApp } from './connectors/microsoft-app.ts';
import { connector as microsoftOauth } from './connectors/microsoft-oauth.ts';
import { connector as mondayLegacyOauth } from './connectors/monday-legacy-oauth.ts';
import { connector as mondayOauth } from './connectors/monday-oauth.ts';
import { connector as salesforceOauth } from './connectors/salesforce-oauth.ts';
import { connector as sentryOauth } from './connectors/sentry-oauth.ts';
import { connector as slackOauth } from './connectors/slack-oauth.ts';
import { connector as slackUserOauth } from './connectors/slack-user-oauth.ts';
import { connector as stripeAppsOauth } from './connectors/stripe-apps-oauth.ts';
import { connector as stripeConnectOauth } from './connectors/stripe-connect-oauth.ts';

export const connectors: ReadonlyMap<string, Connector> = new Map(
  [
    asanaOauth,
    atlassianOauth,
    calendlyOauth,
    clickupOauth,
    genericOauth2,
    genericOidc,
    githubAppInstallation,
    githubAppUser,
    googleOauth,
    googleServiceAccount,
    hubspotOauth,
    intercomOauth,
    localSandbox,
    microsoftApp,
    microsoftOauth,
    mondayLegacyOauth,
    mondayOauth,
    salesforceOauth,
    sentryOauth,
    slackOauth,
    slackUserOauth,
    stripeAppsOauth,
    stripeConnectOauth,
  ].map((connector) => [connector.id, connector]),
);
