// AWS Signature Version 4 against AWS's own test suite, on both runtimes.
import { expect, it } from 'vitest';
import { amzDate, signV4 } from '../../../rotation/keys/sigv4.ts';
import vectors from '../../vectors/sigv4/sigv4-classic.json' with { type: 'json' };

const KEY = {
  keyId: 'AKIDEXAMPLE',
  key: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  region: 'us-east-1',
  service: 'service',
};
/** No request of ours: a header that occurs twice or spans lines, a session token, and a path that needs encoding. */
const UNWRITABLE = [
  ...['get-header-key-duplicate', 'get-header-value-multiline', 'get-header-value-order'],
  ...['get-vanilla-with-session-token', 'get-special-character'],
];

const cases = vectors.filter(({ name }) => !UNWRITABLE.includes(name));

it('knows the whole suite', () => {
  expect(cases).toHaveLength(29);
});

it.each(cases)('signs $name as AWS does', ({ request, authorization }) => {
  const [head = '', body = ''] = request.split('\n\n');
  const [line = '', ...lines] = head.trimEnd().split('\n');
  const [, method = '', path = ''] = /^(\S+) (.*) HTTP\/1\.1$/.exec(line) ?? [];
  const headers = Object.fromEntries(
    lines.map((text) => [text.slice(0, text.indexOf(':')).toLowerCase(), text.slice(text.indexOf(':') + 1)]),
  );
  const { host, ...signed } = headers;
  const url = `https://${host}${path}`;
  const signature = signV4(
    { method, url, headers: signed, body: new TextEncoder().encode(body) },
    KEY,
    headers['x-amz-date'] ?? '',
  );
  expect(signature).toBe(authorization);
});

it('signs each character of a query that RFC 3986 reserves as itself', () => {
  const signed = [...`!'()*`].map((char) =>
    signV4({ method: 'GET', url: `https://x.example/?q=${char}`, headers: {}, body: new Uint8Array() }, KEY, '20150830T123600Z'),
  );
  expect(new Set(signed).size).toBe(5);
});

it('writes the date as AWS does', () => {
  expect(amzDate(Date.UTC(2015, 7, 30, 12, 36, 0))).toBe('20150830T123600Z');
});
