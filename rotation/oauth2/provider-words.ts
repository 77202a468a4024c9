// Evidence of a failed call: status, type, error words and an excerpt of the provider's answer, without secrets.
// It must never contain a secret that was sent or received.
import { LIMITS } from '../../src/base/limits.ts';
import { excerptOf, plainWords } from '../../src/base/scrub.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { EgressRequest } from '../connector.ts';

/** For the operator: recorded in the run's journal, visible to users who may read runs. */
export interface ProviderWords {
  readonly status?: number;
  /** `type/subtype`, without parameters. */
  readonly contentType?: string;
  /** Its error codes, verbatim, if they are plain words. */
  readonly words?: readonly string[];
  readonly excerpt?: string;
  /** The system error of a failed connection, e.g. `ECONNREFUSED`. */
  readonly systemCode?: string;
}

const MEDIA_TYPE = /^[a-z0-9.+-]{1,64}\/[a-z0-9.+-]{1,64}$/;

/** @param codes the answer's error codes, verbatim */
export function providerWords(
  answer: { readonly status: number; readonly contentType: string | undefined; readonly text: string },
  codes: Iterable<string>,
  secrets: readonly string[],
): ProviderWords {
  const type = answer.contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  const words = plainWords(codes, secrets, LIMITS.errorWordsMaxCount);
  const excerpt = excerptOf(answer.text, secrets, LIMITS.excerptMaxChars);
  return {
    status: answer.status,
    ...(MEDIA_TYPE.test(type) ? { contentType: type } : {}),
    ...(words.length === 0 ? {} : { words }),
    ...(excerpt === '' ? {} : { excerpt }),
  };
}

/** Request fields that never contain a secret. */
const OPEN_FIELDS = new Set([
  'grant_type',
  'client_id',
  'client_assertion_type',
  'redirect_uri',
  'scope',
  'token_type_hint',
  'audience',
  'resource',
]);

/** Every value of a request that may be a secret. INVARIANT: a field that is not listed as open counts as a secret (test/rotation/oauth2/provider-words.test.ts). */
export function secretsSent(request: Pick<EgressRequest, 'headers' | 'body' | 'url'>): string[] {
  const secrets: string[] = [];
  for (const value of Object.values(request.headers)) {
    if (!(value instanceof SecretValue)) continue;
    const text = value.reveal((bytes) => new TextDecoder().decode(bytes));
    const [, proof = text] = text.split(' ');
    secrets.push(proof, ...(text.startsWith('Basic ') ? basicParts(proof) : []));
  }
  const body = request.body === undefined ? '' : textOf(request.body);
  for (const [name, value] of fieldsOf(body)) if (!OPEN_FIELDS.has(name)) secrets.push(value);
  for (const [name, value] of URL.parse(request.url)?.searchParams ?? []) if (!OPEN_FIELDS.has(name)) secrets.push(value);
  return secrets.filter((secret) => secret !== '');
}

/** The secret part of Basic credentials, encoded and decoded; without a password it is the user name. */
function basicParts(proof: string): string[] {
  try {
    const decoded = atob(proof);
    const half = decoded.endsWith(':') ? decoded.slice(0, -1) : decoded.slice(decoded.indexOf(':') + 1);
    return [half, decodeURIComponent(half.replaceAll('+', ' '))];
  } catch {
    return [];
  }
}

function textOf(body: SecretValue | Uint8Array): string {
  return body instanceof SecretValue ? body.reveal((bytes) => new TextDecoder().decode(bytes)) : new TextDecoder().decode(body);
}

function fieldsOf(body: string): [string, string][] {
  if (!body.startsWith('{')) return [...new URLSearchParams(body)];
  try {
    return Object.entries(JSON.parse(body) as Record<string, unknown>).map(([name, value]) => [name, String(value)]);
  } catch {
    return [['', body]];
  }
}

const SECRET_MEMBER = /^(?!error).*(token|secret|password|assertion|credential|session|cookie|jwt|key)/i;

/** Values of an answer that may be secrets according to their names, at any depth. */
export function secretsReceived(members: unknown, depth = 0): string[] {
  if (typeof members !== 'object' || members === null || depth > LIMITS.answerDepthMax) return [];
  return Object.entries(members).flatMap(([name, value]) =>
    typeof value === 'string' ? (SECRET_MEMBER.test(name) ? [value] : []) : secretsReceived(value, depth + 1),
  );
}
