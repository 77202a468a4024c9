// The answer of a token endpoint according to a connector's data, and its misbehaving variants. It must never contain real data.
import type { AnswerFields, OAuthConnector } from '../connector.ts';
import type { Misbehaviour } from './misbehaviour.ts';
import { jsonReply, memberOf, putAt, type Reply } from './persona-ask.ts';
import type { Grant, Pair } from './persona-grants.ts';

export interface AnswerMood {
  /** The answer to a code. */
  readonly isExchange?: boolean;
  readonly idToken?: string | undefined;
  readonly twist?: Misbehaviour | undefined;
  readonly nowMs: number;
}

const STANDARD: AnswerFields = {
  accessToken: 'access_token',
  refreshToken: 'refresh_token',
  expiresIn: 'expires_in',
  expiresAt: 'expires_at',
  tokenType: 'token_type',
  scope: 'scope',
  refreshTokenExpiresIn: 'refresh_token_expires_in',
};
const OVERSIZED_BYTES = 2_000_000;

export function tokenReply(connector: OAuthConnector, grant: Grant, pair: Pair, mood: AnswerMood): Reply {
  const { oauth2, persona } = connector;
  const answerFields = mood.isExchange === true ? (oauth2.exchangeAnswerFields ?? oauth2.answerFields) : oauth2.answerFields;
  const fields = { ...STANDARD, ...answerFields };
  const answer: Record<string, unknown> = structuredClone({ ...persona?.alsoAnswers });
  putAt(answer, fields.accessToken, pair.accessToken);
  if (pair.refreshToken !== undefined) putAt(answer, fields.refreshToken, pair.refreshToken);
  if (memberOf(answer, fields.tokenType) === undefined) putAt(answer, fields.tokenType, 'Bearer');
  if (mood.idToken !== undefined) answer['id_token'] = mood.idToken;
  putExpiry({ answer, connector, fields, declared: answerFields ?? {}, pair }, mood);
  putScope(answer, connector, fields.scope, pair.scope, mood.twist);
  for (const [name, path] of Object.entries(oauth2.accountFields ?? {}))
    if (memberOf(answer, path) === undefined) putAt(answer, path, grant.accountFields[name]);
  return jsonReply(persona?.successStatus ?? 200, twisted(answer, mood.twist));
}

/** The account fields that Keyturn reads. */
export function accountAnswered(connector: OAuthConnector, grant: Grant): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(connector.oauth2.accountFields ?? {}).map(([name, path]) => {
      const told = memberOf(connector.persona?.alsoAnswers, path);
      return [name, told === undefined ? (grant.accountFields[name] ?? '') : String(told)];
    }),
  );
}

interface AnswerInTheMaking {
  readonly answer: Record<string, unknown>;
  readonly connector: OAuthConnector;
  readonly fields: AnswerFields;
  /** The `fields` that the connector declares. */
  readonly declared: Partial<AnswerFields>;
  readonly pair: Pair;
}

function putExpiry({ answer, connector, fields, declared, pair }: AnswerInTheMaking, { twist, nowMs }: AnswerMood): void {
  const { persona } = connector;
  const { accessExpiresAtMs, refreshToken, refreshExpiresAtMs } = pair;
  const secondsUntil = (atMs: number): number => Math.max(0, Math.round((atMs - nowMs) / 1_000));
  if (refreshToken !== undefined && refreshExpiresAtMs !== undefined && persona?.refreshTokenSeconds !== undefined)
    putAt(answer, fields.refreshTokenExpiresIn, secondsUntil(refreshExpiresAtMs));
  if (twist?.kind === 'expires_in') {
    const odd = { missing: undefined, zero: 0, negative: -1, text: 'in a while' }[twist.value];
    if (odd !== undefined) putAt(answer, fields.expiresIn, odd);
    return;
  }
  if (accessExpiresAtMs === undefined) return;
  if (declared.expiresAt !== undefined) putAt(answer, declared.expiresAt, new Date(accessExpiresAtMs).toISOString());
  const isAbsent = declared.expiresAt !== undefined && declared.expiresIn === undefined;
  if (isAbsent || persona?.expiresIn === 'absent') return;
  const seconds = secondsUntil(accessExpiresAtMs);
  putAt(answer, fields.expiresIn, persona?.expiresIn === 'text' ? String(seconds) : seconds);
}

function putScope(
  answer: Record<string, unknown>,
  { persona, oauth2 }: OAuthConnector,
  path: string,
  granted: readonly string[],
  twist: Misbehaviour | undefined,
): void {
  if (persona?.scopeAs === 'absent') return;
  const scope =
    twist?.kind === 'narrower_scope'
      ? granted.slice(0, -1)
      : twist?.kind === 'wider_scope'
        ? [...granted, 'never.asked.for']
        : granted;
  if (scope.length === 0) return;
  putAt(answer, path, persona?.scopeAs === 'list' ? scope : scope.join(oauth2.scopeSeparator ?? ' '));
}

function twisted(answer: Record<string, unknown>, twist: Misbehaviour | undefined): Record<string, unknown> {
  if (twist?.kind === 'oversized') return { ...answer, padding: 'x'.repeat(twist.bytes ?? OVERSIZED_BYTES) };
  if (twist?.kind !== 'foreign_fields') return answer;
  return {
    ...answer,
    ['__proto__']: { polluted: true },
    constructor: 'made up',
    'new\nline': 'a\r\nset-cookie: x=1',
    nested: { a: [{ b: null }], access_token: 'a-nested-one-that-is-not-a-real-secret' },
    emoji: '\u{1F511}',
    number: 1e308,
  };
}
