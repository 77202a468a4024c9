import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { excerptOf, plainWords } from '../../src/base/scrub.ts';

const SECRET = 'Zm9-xQ2_hunter.two/not+a=real secret';
const LETTERS = 'correcthorsebatterystaple';
const hex = (text: string) => Buffer.from(text).toString('hex');
const base64 = (text: string) => Buffer.from(text).toString('base64');
const escaped = (text: string) =>
  [...text].map((sign) => `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`).join('');
const percent = (text: string) => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');

/** The forms in which a provider, or a proxy in front of it, may echo a secret. */
const FORMS: readonly (readonly [string, (secret: string) => string])[] = [
  ['as it is', (secret) => secret],
  ['in upper case', (secret) => secret.toUpperCase()],
  ['in lower case', (secret) => secret.toLowerCase()],
  ['percent-encoded', (secret) => encodeURIComponent(secret)],
  ['percent-encoded to the last sign', percent],
  ['in base64', base64],
  ['in base64 after a client id', (secret) => base64(`client:${secret}`)],
  ['in base64 after two signs', (secret) => base64(`ab${secret}`)],
  ['in base64url', (secret) => Buffer.from(secret).toString('base64url')],
  ['in hex', hex],
  ['in upper-case hex', (secret) => hex(secret).toUpperCase()],
  ['escaped as JSON can', escaped],
  ['as a JSON string', (secret) => JSON.stringify(JSON.stringify(secret))],
  ['as HTML entities', (secret) => [...secret].map((sign) => `&#${sign.codePointAt(0)};`).join('')],
  ['backwards', (secret) => [...secret].reverse().join('')],
  ['letter by letter', (secret) => [...secret].join(' ')],
  ['in lines', (secret) => secret.replaceAll(/(.{5})/g, '$1\r\n')],
  ['without its end', (secret) => secret.slice(0, -5)],
  ['without its beginning', (secret) => secret.slice(5)],
  ['marked up', (secret) => secret.replaceAll(/(.{4})/g, '$1<wbr>')],
];

const normal = (text: string) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

function leaks(excerpt: string, secret: string): boolean {
  const letters = normal(excerpt);
  const forms = [secret, base64(secret), hex(secret), [...secret].reverse().join('')].map(normal);
  return forms.some((form) => {
    const size = Math.min(8, form.length);
    return Array.from({ length: form.length - size + 1 }, (_, at) => form.slice(at, at + size)).some((piece) =>
      letters.includes(piece),
    );
  });
}

describe('an excerpt of foreign text', () => {
  it.each(FORMS.flatMap(([name, form]) => [SECRET, LETTERS, 'hunter2'].map((secret) => [name, secret, form(secret)] as const)))(
    'contains no piece of a secret that is echoed %s (%s)',
    (_, secret, sent) => {
      const excerpt = excerptOf(
        `{"error":"invalid_client","error_description":"Secret ${sent} was refused by policy"}`,
        [secret],
        400,
      );
      expect(leaks(excerpt, secret), excerpt).toBe(false);
      expect(excerpt).toContain('invalid_client');
    },
  );

  it('contains no secret, for any text around it', () => {
    const secrets = fc
      .string({ minLength: 8, maxLength: 60, unit: 'grapheme-ascii' })
      .filter((secret) => normal(secret).length >= 8);
    fc.assert(
      fc.property(secrets, fc.constantFrom(...FORMS), fc.string(), fc.string(), (secret, [, form], before, after) => {
        expect(leaks(excerptOf(before + form(secret) + after, [secret], 400), secret)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['a token', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl'],
    ['a key', 'sk_live_4eC39HqLyjWDarjtT1zdp7dc'],
    ['base64 of letters', 'QWxhZGRpbkFuZE9wZW5TZXNhbWU'],
    ['an address', 'someone@customer.example'],
    ['a ticket', 'kQ9x77Lw2'],
    ['a long number', '4111111111111111'],
  ])('omits a text that is not a plain word, even when it is not a known secret: %s', (_, foreign) => {
    expect(excerptOf(`refused for ${foreign} today`, [], 400)).toMatch(/^refused for (… ?)+(\w+ … ?)*today$|^refused for …/);
    expect(excerptOf(`refused for ${foreign} today`, [], 400)).not.toContain(foreign);
  });

  it('keeps words, codes and small numbers, in order, for the operator', () => {
    const said =
      '{"error":"licence_expired","error_description":"Plan does not include API access. Upgrade at the billing page."}';
    expect(excerptOf(said, [SECRET], 400)).toBe(
      'error licence_expired error_description Plan does not include API access Upgrade at the billing page',
    );
    expect(excerptOf('AADSTS700082: The refresh token has expired due to inactivity after 90 days', [SECRET], 400)).toBe(
      'AADSTS700082 The refresh token has expired due to inactivity after 90 days',
    );
    expect(excerptOf('<html><style>p{x:y}</style><h1>Down for <b>maintenance</b></h1></html>', [], 400)).toBe(
      'Down for maintenance',
    );
  });

  it('is searched for a long secret once, not once for each piece of the secret', () => {
    const words = Array.from({ length: 1_000 }, (_, index) => `word${'abcdefghij'[index % 10]}`).join(' ');
    const secret = `${Array.from({ length: 8_000 }, (_, index) => index.toString(36)).join('')}wordawordbwordc`;
    const search = vi.spyOn(String.prototype, 'indexOf');
    let searches: number;
    let excerpt: string;
    try {
      excerpt = excerptOf(`refused ${words}`, [secret, 'four', 'x'.repeat(64_000)], 400);
      searches = search.mock.calls.length;
    } finally {
      search.mockRestore();
    }
    expect(searches).toBeLessThan(20);
    expect(excerpt).not.toMatch(/worda wordb/);
    expect(excerpt).toContain('wordd worde');
  });

  it('without a word is made without a look at the secrets', () => {
    const unread = {
      [Symbol.iterator](): Iterator<string> {
        throw new Error('the secrets were read');
      },
    };
    expect(excerptOf('{"?": [<b>]}', unread, 400)).toBe('');
    expect(() => excerptOf('one word', unread, 400)).toThrow('the secrets were read');
  });

  it('is bounded, and reads a bounded part of the text', () => {
    expect(excerptOf('word '.repeat(100_000), [], 400).length).toBeLessThanOrEqual(400);
    expect(excerptOf(`${'<'.repeat(50_000)}`, [], 400)).toBe('');
  });
});

describe('the plain words of a text', () => {
  it('are kept once each, unless they are part of a secret', () => {
    const words = ['invalid_grant', 'invalid_grant', 'correcthorse', 'https://x.example', 'a\nb', '50000', 'x'.repeat(70)];
    expect(plainWords(words, [LETTERS], 8)).toEqual(['invalid_grant', '50000']);
  });

  it('are compared with all secrets in one pass, each word by itself', () => {
    let passes = 0;
    const secrets = [LETTERS];
    const iterate = secrets[Symbol.iterator].bind(secrets);
    secrets[Symbol.iterator] = () => {
      passes += 1;
      return iterate();
    };
    expect(plainWords(['correct', 'horse', 'staple', 'horsebat', 'other'], secrets, 8)).toEqual([
      'correct',
      'horse',
      'staple',
      'other',
    ]);
    expect(passes).toBe(1);
  });
});
