// The forms in which people store a database credential, and what a new password changes in them.
import { describe, expect, test } from 'vitest';
import type { StoredValue } from '../../../rotation/connector.ts';
import { newPassword } from '../../../rotation/keys/new-password.ts';
import { type Engine, isSameServer, readLogin, withPassword } from '../../../src/node/drivers/database-value.ts';
import { databaseValue } from '../../../src/vault/credential-kinds.ts';

const ENGINE: Engine = { names: ['postgres'], ports: { default: 5_432 }, refusedOptions: ['user'] };
const read = (value: StoredValue) => readLogin(value, ENGINE);

describe('a stored value', () => {
  test.each<[string, StoredValue, object]>([
    [
      'parts',
      {
        engine: 'postgresql',
        host: 'DB.example',
        username: 'app',
        password: 'p',
        port: 6_000,
        database: 'd',
        options: { sslmode: 'x' },
      },
      { host: 'db.example', port: 6_000, username: 'app', password: 'p', database: 'd', options: { sslmode: 'x' } },
    ],
    [
      'the names of Amazon RDS, and base64',
      { engine: 'postgres', host: 'db.example', port: '5432', dbname: 'd', username: 'app', password_base64: 'w6Q=' },
      { port: 5_432, password: 'ä', database: 'd' },
    ],
    [
      'a URL',
      { url: 'postgresql://a%40b:p%3Aq@db.example:6000/my%20db?sslmode=require' },
      { host: 'db.example', port: 6_000, username: 'a@b', password: 'p:q', database: 'my db', options: { sslmode: 'require' } },
    ],
    ['a URL with an address', { url: 'postgres://app:p@[2001:db8::1]/d' }, { host: '2001:db8::1', port: 5_432 }],
    [
      'a URL whose login is beside it',
      { url: 'postgres://db.example/d', username: 'app', password: 'p' },
      { username: 'app', password: 'p' },
    ],
    ['a URL with an @ in its password', { url: 'postgres://app:p@ss@db.example' }, { password: 'p@ss', database: undefined }],
  ])('as %s', (_form, value, login) => {
    expect(databaseValue.safeParse(value).success).toBe(true);
    expect(read(value)).toMatchObject(login);
    for (const name of [undefined, 'o\'ther "user"']) {
      const changed = withPassword(value, 'New-password', name);
      expect(databaseValue.safeParse(changed).success).toBe(true);
      expect(Object.keys(changed)).toEqual(Object.keys(value));
      expect(read(changed)).toEqual({
        ...read(value),
        password: 'New-password',
        ...(name === undefined ? {} : { username: name }),
      });
      expect(isSameServer(read(changed), read(value))).toBe(true);
    }
  });

  test('gets a password where it has none', () => {
    expect(withPassword({ url: 'postgres://app@h/d?a=b' }, 'n')).toEqual({ url: 'postgres://app:n@h/d?a=b' });
    expect(withPassword({ url: 'postgres://h' }, 'n', 'u')).toEqual({ url: 'postgres://u:n@h' });
    expect(withPassword({ engine: 'postgres', host: 'h' }, 'n', 'u')).toMatchObject({ username: 'u', password: 'n' });
  });

  test.each<[string, StoredValue]>([
    ['value_not_of_engine', { engine: 'mysql', host: 'h' }],
    ['value_not_of_engine', { engine: 'postgres', url: 'mysql://h' }],
    ['value_not_of_engine', { host: 'h' }],
    ['value_without_host', { url: 'postgres:///d' }],
    ['host_not_supported', { engine: 'postgres', host: 'a,b' }],
    ['host_not_supported', { engine: 'postgres', host: '/var/run/postgresql' }],
    ['host_not_supported', { url: 'postgres://a,b:1/d' }],
    ['url_not_supported', { engine: 'postgres', url: 'host=h password=p' }],
    ['url_not_supported', { url: 'postgres://a%zz:p@h' }],
    ['url_not_supported', { url: 'postgres://a:p#q@h' }],
    ['value_contradicts_itself', { url: 'postgres://h', host: 'other' }],
    ['value_contradicts_itself', { url: 'postgres://h:1/d', port: 2 }],
    ['value_contradicts_itself', { url: 'postgres://a:p@h', username: 'b' }],
    ['value_contradicts_itself', { url: 'postgres://a:p@h', password: 'q' }],
    ['value_contradicts_itself', { engine: 'postgres', host: 'h', database: 'a', dbname: 'b' }],
    ['value_contradicts_itself', { url: 'postgres://h/d?user=b' }],
    ['value_with_nul', { engine: 'postgres', host: 'h', username: 'a\0b' }],
    ['password_not_text', { engine: 'postgres', host: 'h', password_base64: '/w==' }],
  ])('is refused with %s: %j', (cause, value) => {
    expect(() => read(value)).toThrow(expect.objectContaining({ failure: { kind: 'refused', means: 'configuration', cause } }));
  });
});

test('a new password takes every character of its alphabet, and only bytes that keep them equally probable', () => {
  let next = 0;
  const counting = { bytes: (count: number) => Uint8Array.from({ length: count }, () => next++ & 0xff), fraction: () => 0 };
  const counts = new Map<string, number>();
  for (let n = 0; n < 57; n++)
    for (const character of newPassword(counting)) counts.set(character, (counts.get(character) ?? 0) + 1);
  expect(counts.size).toBe(57);
  // 57 * 4 of the 256 bytes are used, in turn; what a password does not need of its last draw is dropped.
  expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThan(12);
});
