// HTTP Digest authentication (RFC 7616) with qop=auth: the answer to a challenge.
// It must never answer a challenge without qop (RFC 2069), nor use `auth-int`: no provider here asks for them.
import type { Entropy } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { md5OfText, sha256OfText } from '../../src/crypto/primitives.ts';

interface Challenge {
  readonly realm: string;
  readonly nonce: string;
  readonly opaque: string | undefined;
  readonly algorithm: 'MD5' | 'SHA-256';
}

const HASHES = { MD5: md5OfText, 'SHA-256': sha256OfText } as const;
const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** The strongest Digest challenge of a `www-authenticate` header that can be answered. */
export function readChallenge(header: string | undefined): Challenge | undefined {
  // The search for fields takes time that grows with the square of the length.
  if (header === undefined || header.length > LIMITS.challengeMaxChars) return undefined;
  const offered = header.split(/(?=\bDigest\s)/i).flatMap((part): Challenge[] => {
    if (!/^Digest\s/i.test(part)) return [];
    const fields = Object.fromEntries(
      [...part.matchAll(/([a-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/gi)].map(([, name = '', quoted, bare]) => [
        name.toLowerCase(),
        quoted ?? bare ?? '',
      ]),
    ) as Partial<Record<string, string>>;
    const algorithm = (fields['algorithm'] ?? 'MD5').toUpperCase();
    const asksAuth = (fields['qop'] ?? '').split(',').some((qop) => qop.trim().toLowerCase() === 'auth');
    const { realm, nonce, opaque } = fields;
    if (realm === undefined || nonce === undefined || !asksAuth || (algorithm !== 'MD5' && algorithm !== 'SHA-256')) return [];
    return [{ realm, nonce, opaque, algorithm }];
  });
  return offered.find(({ algorithm }) => algorithm === 'SHA-256') ?? offered[0];
}

export interface DigestRequest {
  readonly method: string;
  readonly url: string;
  readonly username: string;
  readonly password: string;
}

/** The `authorization` header. @param cnonce default: random */
export function answerChallenge(challenge: Challenge, request: DigestRequest, entropy: Entropy, cnonce?: string): string {
  const { realm, nonce, opaque, algorithm } = challenge;
  const own = cnonce ?? hex(entropy.bytes(16));
  const digest = (text: string) => hex(HASHES[algorithm](text));
  const { pathname, search } = new URL(request.url);
  const uri = `${pathname}${search}`;
  const count = '00000001';
  const response = digest(
    [
      digest(`${request.username}:${realm}:${request.password}`),
      nonce,
      count,
      own,
      'auth',
      digest(`${request.method}:${uri}`),
    ].join(':'),
  );
  const fields = [
    `username="${request.username.replaceAll(/["\\]/g, String.raw`\$&`)}"`,
    `realm="${realm}"`,
    `nonce="${nonce}"`,
    `uri="${uri}"`,
    `algorithm=${algorithm}`,
    `response="${response}"`,
    'qop=auth',
    `nc=${count}`,
    `cnonce="${own}"`,
    ...(opaque === undefined ? [] : [`opaque="${opaque}"`]),
  ];
  return `Digest ${fields.join(', ')}`;
}
