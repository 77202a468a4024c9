// Wire schemas of connectors and connections, and the view types of the consent pages. Names are snake_case; unknown fields are rejected.
import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';
import { oauth2Config, oauth2Value } from '../../vault/credential-kinds.ts';
import { credential, labels } from './wire-credentials.ts';
import { name, nullableTime, seconds, timestamp } from './wire-parts.ts';

export const createConnection = z.strictObject({
  connector: name.optional().describe('Required for a credential that does not exist yet'),
  config: oauth2Config
    .optional()
    .describe('Takes effect when the person consents; if omitted, the credential keeps its settings'),
  client_secret: oauth2Value.shape.client_secret,
  client_private_jwk: oauth2Value.shape.client_private_jwk,
  client_private_key_pem: oauth2Value.shape.client_private_key_pem,
  expires_in: seconds(LIMITS.connectLinkTtlMaxMs, LIMITS.connectLinkTtlMinMs / 1_000)
    .default(LIMITS.connectLinkTtlDefaultMs / 1_000)
    .describe('Lifetime of the link in seconds'),
  labels: labels.optional(),
  description: z.string().max(LIMITS.descriptionMaxChars).optional(),
});

const connectionState = z
  .enum(['open', 'exchanging', 'choosing', 'connected', 'declined', 'failed', 'cancelled', 'expired'])
  .describe('declined and failed: the result of the last attempt; the link stays valid until it expires');

export const createdConnection = z
  .object({
    id: z.string(),
    state: connectionState,
    link: z.string().describe('For the person who connects the account; shown once'),
    expires_at: timestamp,
    redirect_uri: z.string().describe('Register exactly this redirect URI with the OAuth client'),
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
    consent: z.boolean().describe('Whether a person can connect an account by a link'),
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
    rotation: z
      .object({
        strategy: z.enum(['overlap', 'alternating_users', 'single_user', 'in_place', 'manual']),
        admin: z
          .enum(['self', 'credential', 'either'])
          .describe('Whether the value itself or an admin credential authenticates the management calls'),
      })
      .nullable()
      .describe('How a key or password is replaced; null for OAuth grants, which are refreshed'),
    manual_steps: z.array(z.string()),
  })
  .meta({ id: 'Connector' });
export type WireConnector = z.infer<typeof connector>;
export const connectorList = z.object({ items: z.array(connector) });

/** What a consent page shows. The renderer escapes every text of a provider or caller. */
export type ConnectView =
  | {
      readonly kind: 'ask';
      readonly provider: string;
      /** The host of the provider's authorization page. */
      readonly host: string;
      readonly tenant: string;
      readonly description: string;
      readonly scopes: readonly ConnectScope[];
      readonly parameters: readonly ConnectParameter[];
      readonly expiresAt: string;
      readonly notice: 'declined' | 'failed' | undefined;
      /** The path that the form posts to. */
      readonly action: string;
    }
  | {
      readonly kind: 'choose';
      readonly provider: string;
      readonly title: string;
      /** Undefined: the provider returned no list; the page offers to ask again. */
      readonly choices: readonly { readonly id: string; readonly label: string }[] | undefined;
      readonly action: string;
    }
  | { readonly kind: 'done'; readonly provider: string; readonly tenant: string }
  /** Nothing was changed. `startAgain`: the path of the link, if this browser's cookie holds it. */
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

/** Returns a complete HTML page and the hash of its inline style sheet (CSP `style-src`). */
export type ConnectRenderer = (view: ConnectView) => { readonly html: string; readonly styleHash: string };
