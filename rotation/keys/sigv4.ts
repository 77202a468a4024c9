// AWS Signature Version 4 of one request (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
// Checked with AWS's test suite (test/rotation/keys/sigv4.shared.test.ts). It must never sign a path that needs encoding, because AWS
// encodes such a path twice: the calls of connectors have the path `/` (test/rotation/key-connectors.test.ts).
import { hmacSha256, secretKey, sha256, sha256OfText } from '../../src/crypto/primitives.ts';

export interface SignedRequest {
  readonly method: string;
  readonly url: string;
  /** Lower-case names, without `host`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface SigningKey {
  readonly keyId: string;
  readonly key: string;
  readonly region: string;
  readonly service: string;
}

const encoder = new TextEncoder();
const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const hmac = (key: Uint8Array, text: string) => hmacSha256(secretKey(key), encoder.encode(text));
const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
/** Encodes the characters that encodeURIComponent leaves and RFC 3986 reserves. */
const encode = (text: string) =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The `authorization` header. @param date `YYYYMMDDTHHMMSSZ`, which `headers` contains as `x-amz-date` */
export function signV4(request: SignedRequest, key: SigningKey, date: string): string {
  const { canonical, signed } = canonicalRequest(request);
  const scope = `${date.slice(0, 8)}/${key.region}/${key.service}/aws4_request`;
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hex(sha256OfText(canonical))}`;
  const first = hmac(encoder.encode(`AWS4${key.key}`), date.slice(0, 8));
  const signing = hmac(hmac(hmac(first, key.region), key.service), 'aws4_request');
  return `AWS4-HMAC-SHA256 Credential=${key.keyId}/${scope}, SignedHeaders=${signed}, Signature=${hex(hmac(signing, toSign))}`;
}

function canonicalRequest({ method, url, headers, body }: SignedRequest): { canonical: string; signed: string } {
  const { host, pathname, searchParams } = new URL(url);
  const query = [...searchParams]
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([a, x], [b, y]) => (a === b ? order(x, y) : order(a, b)))
    .map((pair) => pair.join('='))
    .join('&');
  const all = Object.entries({ ...headers, host })
    .map(([name, value]) => [name, value.trim().replaceAll(/ +/g, ' ')] as const)
    .sort(([a], [b]) => order(a, b));
  const lines = all.map(([name, value]) => `${name}:${value}\n`).join('');
  const signed = all.map(([name]) => name).join(';');
  const path = pathname.replaceAll(/\/{2,}/g, '/');
  return { canonical: [method, path, query, lines, signed, hex(sha256(body))].join('\n'), signed };
}

/** `YYYYMMDDTHHMMSSZ` */
export function amzDate(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
}
