// A token answer as a connector's persona describes it, and what must be read out of it.
import type { AnswerFields, OAuthConnector } from '../../rotation/connector.ts';
import type { ExpirySource } from '../../rotation/oauth2/token-expiry.ts';

export interface PersonaAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly expected: {
    readonly accessToken: string;
    readonly refreshToken: string | undefined;
    readonly expirySource: ExpirySource;
    readonly expiresAtMs: number | undefined;
    readonly refreshTokenExpiresAtMs: number | undefined;
    readonly scope: string | undefined;
    readonly account: Readonly<Record<string, string>>;
  };
}

/** Answers of the tests leave at this instant (`answerOf`). */
const SENT_AT_MS = 1_000_000;
const SCOPES = ['made:up', 'also.made-up'];
const STANDARD: AnswerFields = {
  accessToken: 'access_token',
  refreshToken: 'refresh_token',
  expiresIn: 'expires_in',
  expiresAt: 'expires_at',
  tokenType: 'token_type',
  scope: 'scope',
  refreshTokenExpiresIn: 'refresh_token_expires_in',
};

export function personaAnswer({ oauth2, persona }: OAuthConnector, answerFields: Partial<AnswerFields>): PersonaAnswer {
  const fields = { ...STANDARD, ...answerFields };
  const { expiresIn = 'number', scopeAs = 'text', refreshTokenSeconds, alsoAnswers = {} } = persona ?? {};
  const ttl = oauth2.accessTokenTtlSeconds ?? 3_600;
  const seconds = persona?.accessTokenSeconds ?? (ttl === 'never' ? 3_600 : ttl);
  const endsAtMs = SENT_AT_MS + seconds * 1_000;
  const isJwt = persona?.accessTokenIs === 'jwt';
  const accessToken = isJwt ? unsignedJwt(endsAtMs) : 'access-not-a-real-secret';
  const refreshToken = oauth2.refreshTokenRotates === 'always' ? 'refresh-not-a-real-secret' : undefined;
  const tellsInstant = expiresIn === 'absent' && answerFields.expiresAt !== undefined;

  const body: Record<string, unknown> = structuredClone({ ...alsoAnswers });
  put(body, fields.accessToken, accessToken);
  if (refreshToken !== undefined) put(body, fields.refreshToken, refreshToken);
  if (expiresIn !== 'absent') put(body, fields.expiresIn, expiresIn === 'text' ? String(seconds) : seconds);
  if (tellsInstant) put(body, fields.expiresAt, new Date(endsAtMs).toISOString());
  if (scopeAs !== 'absent') put(body, fields.scope, scopeAs === 'list' ? SCOPES : SCOPES.join(oauth2.scopeSeparator ?? ' '));
  if (refreshTokenSeconds !== undefined) put(body, fields.refreshTokenExpiresIn, refreshTokenSeconds);

  const source = expiresIn !== 'absent' ? 'expires_in' : tellsInstant ? 'expires_at' : isJwt ? 'jwt' : 'default';
  return {
    status: persona?.successStatus ?? 200,
    body,
    expected: {
      accessToken,
      refreshToken,
      expirySource: source,
      expiresAtMs: source === 'default' && ttl === 'never' ? undefined : endsAtMs,
      refreshTokenExpiresAtMs: refreshTokenSeconds === undefined ? undefined : SENT_AT_MS + refreshTokenSeconds * 1_000,
      scope: scopeAs === 'absent' ? undefined : SCOPES.join(' '),
      account: accountOf(body, oauth2.accountFields ?? {}),
    },
  };
}

/** @throws when the persona leaves out an account field without saying that it may be null */
function accountOf(body: unknown, accountFields: Readonly<Record<string, string>>): Record<string, string> {
  const account: Record<string, string> = {};
  for (const [name, path] of Object.entries(accountFields)) {
    let value = body;
    for (const part of path.split('.')) {
      if (value === undefined) throw new Error(`the persona does not answer ${path}`);
      value = value === null ? null : (value as Record<string, unknown>)[part];
    }
    if (value === undefined) throw new Error(`the persona does not answer ${path}`);
    if (value !== null) account[name] = String(value);
  }
  return account;
}

function put(body: Record<string, unknown>, path: string, value: unknown): void {
  const names = path.split('.');
  const last = names.pop() as string;
  let target = body;
  for (const name of names) {
    target[name] ??= {};
    target = target[name] as Record<string, unknown>;
  }
  target[last] = value;
}

function unsignedJwt(endsAtMs: number): string {
  const part = (json: unknown) => Buffer.from(JSON.stringify(json)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ exp: Math.floor(endsAtMs / 1_000), note: 'not-a-real-secret' })}.x`;
}
