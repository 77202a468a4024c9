// Every connector by its id. Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand.
import type { Connector } from './connector.ts';
import { connector as anthropicApiKey } from './connectors/anthropic-api-key.ts';
import { connector as asanaOauth } from './connectors/asana-oauth.ts';
import { connector as asanaPersonalToken } from './connectors/asana-personal-token.ts';
import { connector as atlassianOauth } from './connectors/atlassian-oauth.ts';
import { connector as awsIamAccessKey } from './connectors/aws-iam-access-key.ts';
import { connector as calendlyOauth } from './connectors/calendly-oauth.ts';
import { connector as clickupOauth } from './connectors/clickup-oauth.ts';
import { connector as clickupPersonalToken } from './connectors/clickup-personal-token.ts';
import { connector as cloudflareAccountToken } from './connectors/cloudflare-account-token.ts';
import { connector as cloudflareUserToken } from './connectors/cloudflare-user-token.ts';
import { connector as datadogApiKey } from './connectors/datadog-api-key.ts';
import { connector as datadogApplicationKey } from './connectors/datadog-application-key.ts';
import { connector as genericHttp } from './connectors/generic-http.ts';
import { connector as genericOauth2 } from './connectors/generic-oauth2.ts';
import { connector as genericOidc } from './connectors/generic-oidc.ts';
import { connector as genericProgram } from './connectors/generic-program.ts';
import { connector as genericWebhook } from './connectors/generic-webhook.ts';
import { connector as githubAppInstallation } from './connectors/github-app-installation.ts';
import { connector as githubAppPrivateKey } from './connectors/github-app-private-key.ts';
import { connector as githubAppUser } from './connectors/github-app-user.ts';
import { connector as gitlabGroupToken } from './connectors/gitlab-group-token.ts';
import { connector as gitlabPersonalToken } from './connectors/gitlab-personal-token.ts';
import { connector as gitlabProjectToken } from './connectors/gitlab-project-token.ts';
import { connector as googleAnalyticsSecret } from './connectors/google-analytics-secret.ts';
import { connector as googleApiKey } from './connectors/google-api-key.ts';
import { connector as googleOauth } from './connectors/google-oauth.ts';
import { connector as googleServiceAccount } from './connectors/google-service-account.ts';
import { connector as googleServiceAccountKey } from './connectors/google-service-account-key.ts';
import { connector as hubspotOauth } from './connectors/hubspot-oauth.ts';
import { connector as hubspotPrivateApp } from './connectors/hubspot-private-app.ts';
import { connector as intercomAccessToken } from './connectors/intercom-access-token.ts';
import { connector as intercomOauth } from './connectors/intercom-oauth.ts';
import { connector as ldap } from './connectors/ldap.ts';
import { connector as localSandbox } from './connectors/local-sandbox.ts';
import { connector as localSandboxKey } from './connectors/local-sandbox-key.ts';
import { connector as mariadb } from './connectors/mariadb.ts';
import { connector as mariadbAlternating } from './connectors/mariadb-alternating.ts';
import { connector as microsoftApp } from './connectors/microsoft-app.ts';
import { connector as microsoftAppSecret } from './connectors/microsoft-app-secret.ts';
import { connector as microsoftOauth } from './connectors/microsoft-oauth.ts';
import { connector as mondayLegacyOauth } from './connectors/monday-legacy-oauth.ts';
import { connector as mondayOauth } from './connectors/monday-oauth.ts';
import { connector as mondayPersonalToken } from './connectors/monday-personal-token.ts';
import { connector as mongodbAtlasApiKey } from './connectors/mongodb-atlas-api-key.ts';
import { connector as mongodbAtlasServiceAccount } from './connectors/mongodb-atlas-service-account.ts';
import { connector as mysql } from './connectors/mysql.ts';
import { connector as newrelicUserKey } from './connectors/newrelic-user-key.ts';
import { connector as oktaClientSecret } from './connectors/okta-client-secret.ts';
import { connector as openaiAdminKey } from './connectors/openai-admin-key.ts';
import { connector as openaiProjectServiceAccount } from './connectors/openai-project-service-account.ts';
import { connector as postgresql } from './connectors/postgresql.ts';
import { connector as postgresqlAlternating } from './connectors/postgresql-alternating.ts';
import { connector as propelauthEndUserKey } from './connectors/propelauth-end-user-key.ts';
import { connector as redis } from './connectors/redis.ts';
import { connector as salesforceOauth } from './connectors/salesforce-oauth.ts';
import { connector as sendgridApiKey } from './connectors/sendgrid-api-key.ts';
import { connector as sentryDsnKey } from './connectors/sentry-dsn-key.ts';
import { connector as sentryOauth } from './connectors/sentry-oauth.ts';
import { connector as slackOauth } from './connectors/slack-oauth.ts';
import { connector as slackUserOauth } from './connectors/slack-user-oauth.ts';
import { connector as stripeAppsOauth } from './connectors/stripe-apps-oauth.ts';
import { connector as stripeConnectOauth } from './connectors/stripe-connect-oauth.ts';
import { connector as stripeSecretKey } from './connectors/stripe-secret-key.ts';
import { connector as twilioApiKey } from './connectors/twilio-api-key.ts';
import { connector as twilioAuthToken } from './connectors/twilio-auth-token.ts';

export const connectors: ReadonlyMap<string, Connector> = new Map(
  [
    anthropicApiKey,
    asanaOauth,
    asanaPersonalToken,
    atlassianOauth,
    awsIamAccessKey,
    calendlyOauth,
    clickupOauth,
    clickupPersonalToken,
    cloudflareAccountToken,
    cloudflareUserToken,
    datadogApiKey,
    datadogApplicationKey,
    genericHttp,
    genericOauth2,
    genericOidc,
    genericProgram,
    genericWebhook,
    githubAppInstallation,
    githubAppPrivateKey,
    githubAppUser,
    gitlabGroupToken,
    gitlabPersonalToken,
    gitlabProjectToken,
    googleAnalyticsSecret,
    googleApiKey,
    googleOauth,
    googleServiceAccount,
    googleServiceAccountKey,
    hubspotOauth,
    hubspotPrivateApp,
    intercomAccessToken,
    intercomOauth,
    ldap,
    localSandbox,
    localSandboxKey,
    mariadb,
    mariadbAlternating,
    microsoftApp,
    microsoftAppSecret,
    microsoftOauth,
    mondayLegacyOauth,
    mondayOauth,
    mondayPersonalToken,
    mongodbAtlasApiKey,
    mongodbAtlasServiceAccount,
    mysql,
    newrelicUserKey,
    oktaClientSecret,
    openaiAdminKey,
    openaiProjectServiceAccount,
    postgresql,
    postgresqlAlternating,
    propelauthEndUserKey,
    redis,
    salesforceOauth,
    sendgridApiKey,
    sentryDsnKey,
    sentryOauth,
    slackOauth,
    slackUserOauth,
    stripeAppsOauth,
    stripeConnectOauth,
    stripeSecretKey,
    twilioApiKey,
    twilioAuthToken,
  ].map((connector) => [connector.id, connector]),
);
