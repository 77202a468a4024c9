// Templates and pointers: what a value can and cannot do to a call.
import { describe, expect, it, test } from 'vitest';
import { valueAt, withoutEmpty } from '../../../rotation/keys/pointer.ts';
import { fillForm, fillJson, fillText, fillUrl, mayContainSecret, Unfillable } from '../../../rotation/keys/template.ts';
import { readXml } from '../../../rotation/keys/xml.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const variables = {
  parameters: { host: 'api.example.com:8443', account: 'a1' },
  old: { key: 'k', key_id: 'a/b?c#d', dots: '..', empty: '', nothing: null },
  admin: { key: 'secret' },
  copied: { scopes: ['read', 'write'] },
  ends: { days: 90 },
  name: 'keyturn-run_1',
};
const wordOf = (make: () => unknown) => {
  try {
    make();
    return 'filled';
  } catch (error) {
    if (error instanceof Unfillable) return error.word;
    throw error;
  }
};

describe('a URL', () => {
  it('encodes every variable in its path and query, and takes a host as it is', () => {
    expect(fillUrl('https://{parameters.host}/v1/{old.key_id}?n={name}', variables)).toBe(
      'https://api.example.com:8443/v1/a%2Fb%3Fc%23d?n=keyturn-run_1',
    );
  });

  it('takes three dots, and refuses what is empty, has no host or no scheme', () => {
    const more = { ...variables, old: { ...variables.old, dot: '.', three: '...' } };
    expect(fillUrl('http://x.example/{old.three}', more)).toBe('http://x.example/...');
    expect(wordOf(() => fillUrl('https://x.example/{old.dot}', more))).toBe('old_dot_unusable');
    expect(wordOf(() => fillUrl('https://x.example/{copied.none}', more))).toBe('copied_none_unusable');
    expect(wordOf(() => fillUrl('x.example/{old.three}', more))).toBe('host_unusable');
    expect(wordOf(() => fillUrl('https:///v1', more))).toBe('host_unusable');
  });

  it('refuses a value that would change its path or its host', () => {
    expect(wordOf(() => fillUrl('https://x.example/v1/{old.dots}', variables))).toBe('old_dots_unusable');
    expect(wordOf(() => fillUrl('https://{old.key_id}/v1', variables))).toBe('host_unusable');
    expect(wordOf(() => fillUrl('https://{parameters.account}@evil.example/v1', variables))).toBe('host_unusable');
  });
});

it('keeps the JSON type of a whole variable, and leaves out an absent copied member', () => {
  expect(
    fillJson(
      {
        name: '{name}',
        days: '{ends.days}',
        scopes: '{copied.scopes}',
        condition: '{copied.condition}',
        text: 'for {ends.days} d',
      },
      variables,
    ),
  ).toEqual({ name: 'keyturn-run_1', days: 90, scopes: ['read', 'write'], text: 'for 90 d' });
  expect(fillForm({ Name: '{name}', Policy: '{copied.scopes}', None: '{copied.none}' }, variables).toString()).toBe(
    'Name=keyturn-run_1&Policy=%5B%22read%22%2C%22write%22%5D',
  );
});

it('fills values of every JSON type, and lists without absent members', () => {
  expect(fillJson([1, true, null, '{copied.none}', ['{name}'], { a: null, b: '{copied.none}' }], variables)).toEqual([
    1,
    true,
    null,
    ['keyturn-run_1'],
    { a: null },
  ]);
  expect(fillText('{copied.scopes}{copied.none}{ends.days}', variables)).toBe('["read","write"]90');
  expect(fillForm({ days: '{ends.days}' }, variables).toString()).toBe('days=90');
});

it('names what a value lacks, never what it has', () => {
  const { copied: _, ...without } = variables;
  expect(wordOf(() => fillText('{copied.scopes}', without))).toBe('copied_lacks_scopes');
  expect(wordOf(() => fillText('{parameters.none}', variables))).toBe('parameters_lacks_none');
  expect(wordOf(() => fillText('{old.nothing}', variables))).toBe('value_lacks_nothing');
  expect(wordOf(() => fillText('{old.empty}', variables))).toBe('value_lacks_empty');
  expect(wordOf(() => fillText('{admin.access_token}', variables))).toBe('admin_lacks_access_token');
  expect(wordOf(() => fillText('{old.toString}', variables))).toBe('value_lacks_tostring');
  expect(wordOf(() => fillText('{value.key}', variables))).toBe('value_lacks_key');
});

it('leaves other braces alone, and knows which variables are secret', () => {
  expect(fillText('{ actor { user { id } } } {unknown} {name}', variables)).toBe(
    '{ actor { user { id } } } {unknown} keyturn-run_1',
  );
  expect(mayContainSecret('Bearer {admin.key}')).toBe(true);
  expect(mayContainSecret('{parameters.account} {name}')).toBe(false);
});

describe('a pointer', () => {
  const body = {
    'x~1y': 2,
    star: { '*': 1 },
    odd: [undefined],
    'a/b': { '~c': 1 },
    list: [{ r: 'x' }, { r: 'y' }],
    none: null,
    holes: [{ r: 'x' }, {}],
  };
  test.each([
    ['', body],
    ['/a~1b/~0c', 1],
    ['/list/1/r', 'y'],
    ['/list/*/r', ['x', 'y']],
    ['/holes/*/r', undefined],
    ['/x~01y', 2],
    ['/star/*', undefined],
    ['/star/*/deeper', undefined],
    ['/list/9/r', undefined],
    ['/list/*/r/deeper', undefined],
    ['/none/deeper', undefined],
    ['/none', undefined],
    ['/list/length', undefined],
    ['/constructor', undefined],
    ['/a~1b/~0c/deeper', undefined],
  ])('%s', (pointer, expected) => {
    expect(valueAt(body, pointer)).toEqual(expected);
  });
});

it('drops what is empty at any depth', () => {
  expect(withoutEmpty({ ip: { in: ['1.2.3.0/24'], not_in: [] }, x: null, y: '', z: {}, n: 0, f: false })).toEqual({
    ip: { in: ['1.2.3.0/24'] },
    n: 0,
    f: false,
  });
  expect(withoutEmpty({ a: [{}, null] })).toBeUndefined();
  expect(withoutEmpty([undefined, 'x', '', [0], []])).toEqual(['x', [0]]);
  expect([withoutEmpty(0), withoutEmpty(false), withoutEmpty('x'), withoutEmpty('')]).toEqual([0, false, 'x', undefined]);
});

describe('XML', () => {
  it('becomes members: texts, lists of repeated elements, and empty elements', () => {
    const text = `<?xml version="1.0"?>\n<R xmlns="urn:x"><!-- c --><L><m><id>A&amp;B</id></m><m><id>&#67;&#x44;</id></m></L><E/><T a="1"> x </T></R>`;
    expect(readXml(text)).toEqual({ R: { L: { m: [{ id: 'A&B' }, { id: 'CD' }] }, E: '', T: 'x' } });
  });

  it('keeps a member that is named as a member of every object', () => {
    expect(JSON.stringify(readXml('<R><__proto__>x</__proto__><constructor>y</constructor></R>'))).toBe(
      '{"R":{"__proto__":"x","constructor":"y"}}',
    );
  });

  it('reads texts around comments, lists of three, and every entity that XML has; no other', () => {
    expect(readXml('<r>a<!-- x -->b<?y z?>c</r>')).toEqual({ r: 'abc' });
    expect(readXml('<r><i>1</i><i/><i>3</i><j/></r>')).toEqual({ r: { i: ['1', '', '3'], j: '' } });
    expect(readXml('<r>&lt;&gt;&quot;&apos;&amp;</r>')).toEqual({ r: '<>"\'&' });
    expect(readXml('<r>&#65;&#x42;&#x10FFFF;&nbsp;&x;&toString;</r>')).toEqual({ r: 'AB\u{10FFFF}&nbsp;&x;&toString;' });
    expect(readXml('<r>&#1114111;&#1114112;&#x110000;</r>')).toEqual({ r: '\u{10FFFF}&#1114112;&#x110000;' });
    expect(readXml('<r><a>x</a> text beside </r>')).toEqual({ r: { a: 'x' } });
    expect(readXml('<r/>')).toEqual({ r: '' });
  });

  it('is read from its beginning each time, also after a text that is none', () => {
    for (const text of ['<a></b>', '</a><a>x</a>']) {
      expect(readXml(text)).toBeUndefined();
      expect(readXml('<a>x</a>')).toEqual({ a: 'x' });
    }
  });

  it('with many elements of one name is read without copying their list', () => {
    const count = 2_000;
    let copied = 0;
    const iterate = Array.prototype[Symbol.iterator];
    const iterateAs = (value: typeof iterate) => Object.defineProperty(Array.prototype, Symbol.iterator, { value });
    let read: unknown;
    iterateAs(function (this: unknown[]) {
      copied += this.length;
      return iterate.call(this);
    });
    try {
      read = readXml(`<a>${'<b/>'.repeat(count)}</a>`);
    } finally {
      iterateAs(iterate);
    }
    expect(copied, 'elements of lists that were iterated over').toBeLessThan(20 * count);
    expect(read).toEqual({ a: { b: Array.from({ length: count }, () => '') } });
  });

  it('may be as deep as any body, and no deeper', () => {
    const nested = (depth: number) => readXml('<a>'.repeat(depth) + '</a>'.repeat(depth));
    expect(nested(LIMITS.bodyMaxDepth - 1)).toBeDefined();
    expect(nested(LIMITS.bodyMaxDepth)).toBeUndefined();
  });

  it.each([
    '',
    'text',
    '<a/><b/>',
    '<a></a></a>',
    '<![CDATA[x]]>',
    '<a>x<</a>',
    '<a>',
    '<a></b>',
    '<a></a><b></b>',
    '</a>',
    '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    '{"a":1}',
    '<a'.repeat(10_000),
    '<a>'.repeat(100) + '</a>'.repeat(100),
  ])('refuses what is not such XML (%#)', (text) => {
    expect(readXml(text)).toBeUndefined();
  });
});
