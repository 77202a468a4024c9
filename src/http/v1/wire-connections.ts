// Connectors and connections on the wire, and what the hosted page is given to show. Names are snake_case; unknown fields are refused.
import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';
import { oauth2Config, oauth2Value } from '../../vault/credential-kinds.ts';
import { credential, labels } from './wire-credentials.ts';
import { name, nullableTime, seconds, timestamp } from './wire-parts.ts';

export const createConnection = z.strictObject({
  connector: name.optional().describe('Needed once, for a credential that does not exist yet'),
  config: oauth2Config.optional().describe('Takes effect with the consent; without it the credential keeps its own'),
  client_secret: oauth2Value.shape.client_secret,
  client_private_jwk: oauth2Value.shape.client_private_jwk,
  client_private_key_pem: oauth2Value.shape.client_private_key_pem,
  expires_in: seconds(LIMITS.connectLinkTtlMaxMs, LIMITS.connectLinkTtlMinMs / 1_000)
    .default(LIMITS.connectLinkTtlDefaultMs / 1_000)
    .describe('Seconds the link lives'),
  labels: labels.optional(),
  description: z.string().max(LIMITS.descriptionMaxChars).optional(),
});

const connectionState = z
  .enum(['open', 'exchanging', 'choosing', 'connected', 'declined', 'failed', 'cancelled', 'expired'])
  .describe('declined and failed: how the last attempt ended; the link goes on until it expires');

export const createdConnection = z
  .object({
    id: z.string(),
    state: connectionState,
    link: z.string().describe('For the person who connects the account; shown once'),
    expires_at: timestamp,
    redirect_uri: z.string().describe('What the OAuth client must be registered with, to the letter'),
    scopes: z.array(z.object({ scope: z.string(), title: z.string(), workflows: z.array(z.string()) })),
    credential,
  })
  .meta({ id: 'CreatedConnection' });
export type WireCreatedConnection = z.infer<typeof createdConnection>;

export const connection = z
  .object({
    id: z.string(),
    state: connectionState,
    cause: z.string().nullable(),
    created_at: timestamp,
    created_by: z.string(),
    expires_at: timestamp,
    finished_at: nullableTime,
  })
  .meta({ id: 'Connection' });
export type WireConnection = z.infer<typeof connection>;

export const connector = z
  .object({
    id: z.string(),
    title: z.string(),
    kind: z.enum(['oauth2', 'api_key', 'basic', 'database', 'json']),
    consent: z.boolean().describe('A person can connect an account by a link'),
    renewal: z.enum(['refresh_token', 'client_credentials', 'jwt_bearer', 'app_jwt', 'none']).nullable(),
    lost_answer: z.union([z.enum(['safe', 'unsafe']), z.object({ window_seconds: z.int() })]).nullable(),
    parameters: z.array(
      z.object({
        name: z.string(),
        title: z.string(),
        shape: z.enum(['label', 'host']),
        default: z.string().nullable(),
        from: z.enum(['credential', 'consent', 'callback']),
        values: z.array(z.string()).nullable(),
      }),
    ),
    scopes: z.array(z.object({ scope: z.string(), title: z.string() })),
    manual_steps: z.array(z.string()),
  })
  .meta({ id: 'Connector' });
export type WireConnector = z.infer<typeof connector>;
export const connectorList = z.object({ items: z.array(connector) });

/** What a person sees of their link; every text but ours is shown as text. */
export type ConnectView =
  | {
      readonly kind: 'ask';
      readonly provider: string;
      /** Where the button leads in the end. */
      readonly host: string;
      readonly tenant: string;
      readonly description: string;
      readonly scopes: readonly ConnectScope[];
      readonly parameters: readonly ConnectParameter[];
      readonly expiresAt: string;
      readonly notice: 'declined' | 'failed' | undefined;
      /** Where the button goes. */
      readonly action: string;
    }
  | {
      readonly kind: 'choose';
      readonly provider: string;
      readonly title: string;
      /** Undefined: the provider gave no list; it can be asked again. */
      readonly choices: readonly { readonly id: string; readonly label: string }[] | undefined;
      readonly action: string;
    }
  | { readonly kind: 'done'; readonly provider: string; readonly tenant: string }
  /** Nothing was changed. `startAgain`: the link, where this browser is known to have it. */
  | { readonly kind: 'refused'; readonly reason: string; readonly startAgain: string | undefined }
  | { readonly kind: 'gone' | 'busy' | 'broken' | 'trouble' };

export interface ConnectScope {
  readonly scope: string;
  readonly title: string;
  readonly workflows: readonly { readonly name: string; readonly why: string | undefined }[];
}

export interface ConnectParameter {
  readonly name: string;
  readonly title: string;
  readonly shape: 'label' | 'host';
  readonly value: string;
  readonly values: readonly string[] | undefined;
  readonly problem: string | undefined;
}

/** A whole HTML page, and the hash under which its one style sheet may apply (CSP `style-src`). */
export type ConnectRenderer = (view: ConnectView) => { readonly html: string; readonly styleHash: string };
