// A provider in memory, played from a key connector's data: keys with names, and answers where the connector reads them.
// It must never know a provider by its id: what a connector does not declare is not played.
import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt, importSPKI, jwtVerify } from 'jose';
import type {
  CallAuthentication,
  Egress,
  EgressAnswer,
  EgressRequest,
  KeyCall,
  KeyCalls,
  KeyConnector,
  StoredValue,
  Target,
} from '../../rotation/connector.ts';
import { answerChallenge } from '../../rotation/keys/http-digest.ts';
import { signV4 } from '../../rotation/keys/sigv4.ts';
import { SecretValue } from '../../src/base/secret-value.ts';

export const NOW = Date.UTC(2026, 10, 28, 12, 0, 0);
export const NAME = 'keyturn-run_0123456789abcdefghjkmnpq';
const NONCE = 'made-up-nonce';
const entropy = { bytes: (count: number) => new Uint8Array(count).fill(7), fraction: () => 0.5 };

export type CallName = 'inspect' | 'list' | 'used' | 'mint' | 'read' | 'test' | 'disable' | 'revoke';
export const CALL_NAMES: readonly CallName[] = ['inspect', 'list', 'used', 'mint', 'read', 'test', 'disable', 'revoke'];

export function callsOf(calls: KeyCalls): readonly (readonly [CallName, KeyCall])[] {
  return CALL_NAMES.flatMap((name) => (calls[name] === undefined ? [] : [[name, calls[name]] as const]));
}

/** Members of values and admin credentials that are no secret. */
const OPEN_MEMBERS = new Set(['username', 'client_email', 'project_id']);

interface HeldKey {
  readonly value: StoredValue;
  readonly name: string | undefined;
  readonly madeAt: number;
  isDisabled: boolean;
  isUsed: boolean;
}

/** A request as it was sent, readable. */
export interface Sent {
  readonly call: CallName;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a test does to one call: `before` answers instead of the provider, `after` instead of its answer. */
export interface Mischief {
  readonly call: CallName;
  readonly when: 'before' | 'after';
  readonly does: (request: Sent) => EgressAnswer;
}

const rsaKeys: (RsaKey | undefined)[] = [];

interface RsaKey {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** The key pair of the nth key that a provider makes; kept, because making one is slow. */
function rsaKey(number: number): RsaKey {
  rsaKeys[number] ??= generateKeyPairSync('rsa', {
    modulusLength: 2_048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return rsaKeys[number];
}

export class KeyProvider implements Egress {
  readonly keys = new Map<string, HeldKey>();
  readonly sent: Sent[] = [];
  readonly old: StoredValue;
  readonly admin: StoredValue;
  readonly parameters: Readonly<Record<string, string>>;
  readonly idMember: string;
  mischief: Mischief | undefined;
  /** The provider's clock. */
  now = () => NOW;
  #made = 0;
  readonly #calls: KeyCalls;

  readonly #connector: KeyConnector;

  readonly #mark: string;

  /** @param mark part of every text of this provider's values, to tell them from those of another one */
  constructor(connector: KeyConnector, mark = '') {
    this.#connector = connector;
    this.#mark = mark;
    this.#calls = connector.key.calls as KeyCalls;
    this.idMember = this.#calls.idMember ?? 'key_id';
    this.parameters = madeUpParameters(connector);
    this.old = this.#make('made-by-a-person').value;
    this.admin = connector.key.admin === 'credential' ? madeUpAdmin(this.#calls, mark) : this.old;
  }

  target(): Target {
    return {
      parameters: this.parameters,
      old: this.old,
      admin: this.admin,
      name: NAME,
      egress: this,
      allowedHosts: this.hosts(),
      allowLoopback: false,
      clock: { now: () => NOW },
      entropy,
    };
  }

  hosts(): readonly string[] {
    return this.#connector.key.hosts.map((host) =>
      host.replaceAll(/\{(\w+)\}/g, (_, name: string) => this.parameters[name] ?? ''),
    );
  }

  /** Every text of a value or of the admin credential that must stay secret: members that are not ids or addresses. */
  secrets(): readonly string[] {
    const values = [this.admin, ...[...this.keys.values()].map(({ value }) => value), this.old];
    return values.flatMap((value) =>
      Object.entries(value).flatMap(([member, text]) =>
        OPEN_MEMBERS.has(member) || member === this.idMember ? [] : [String(text)],
      ),
    );
  }

  /** Ids that were made for the run of `NAME`, or since the first key where keys have no name. */
  madeIds(): readonly string[] {
    return [...this.keys.keys()].filter((id) => id !== this.old[this.idMember]);
  }

  /** A person deletes them. */
  removeMade(): void {
    for (const id of this.madeIds()) this.keys.delete(id);
  }

  async send(request: EgressRequest): Promise<EgressAnswer> {
    const sent = readable(request, this.#calls);
    this.sent.push(sent);
    const { mischief } = this;
    if (mischief?.call === sent.call && mischief.when === 'before') return mischief.does(sent);
    const answer = await this.#play(sent);
    return mischief?.call === sent.call && mischief.when === 'after' && answer.status !== 401 ? mischief.does(sent) : answer;
  }

  async #play(sent: Sent): Promise<EgressAnswer> {
    const call = this.#calls[sent.call] as KeyCall;
    const by = call.authentication ?? this.#calls.authentication;
    if (by.by === 'digest' && sent.headers['authorization'] === undefined)
      return answer(401, '', { 'www-authenticate': `Digest realm="made up", nonce="${NONCE}", algorithm=MD5, qop="auth"` });
    switch (sent.call) {
      case 'test':
        return this.#test(sent, by);
      case 'inspect':
      case 'list':
      case 'used':
      case 'read':
      case 'mint':
        if (!(await this.#mayManage(by, sent))) return answer(401, '{"error":"unauthorized"}');
        return this.#manage(sent);
      default:
        if (!(await this.#mayManage(by, sent))) return answer(401, '{"error":"unauthorized"}');
        return this.#end(sent);
    }
  }

  /** The admin credential, or any key that works where keys manage themselves. */
  async #mayManage(by: CallAuthentication, sent: Sent): Promise<boolean> {
    if (this.#connector.key.admin === 'credential') return this.#isBy(this.admin, by, sent);
    for (const { value, isDisabled } of this.keys.values()) if (!isDisabled && (await this.#isBy(value, by, sent))) return true;
    return false;
  }

  #read(name: 'inspect' | 'list'): EgressAnswer {
    const body: Json = {};
    const { inspect, list } = this.#calls;
    if (name === 'inspect' && inspect !== undefined) {
      for (const [member, pointers] of Object.entries(inspect.takes))
        setAt(body, [pointers].flat()[0] as string, sampleOf(member.replace('?', '')));
      return said(inspect, body);
    }
    if (list === undefined) throw new Error('no list is declared');
    const items = [...this.keys].map(([id, { name: given, madeAt, isUsed }]) => {
      const item: Json = {};
      setAt(item, list.id, this.#listedId(id));
      if (list.createdAt !== undefined) setAt(item, list.createdAt, new Date(madeAt).toISOString());
      if (list.usedAt !== undefined && isUsed) setAt(item, list.usedAt, new Date(madeAt).toISOString());
      if (list.name !== undefined && given !== undefined) setAt(item, list.name, given);
      return item;
    });
    setAt(body, list.items, items);
    return said(list, list.items === '' ? items : body);
  }

  #manage(sent: Sent): EgressAnswer {
    switch (sent.call) {
      case 'mint':
        return this.#mint(sent);
      case 'used':
        return this.#used(sent);
      case 'read':
        return this.#valueOf(sent);
      default:
        return this.#read(sent.call as 'inspect' | 'list');
    }
  }

  #valueOf({ url }: Sent): EgressAnswer {
    const call = this.#calls.read as NonNullable<KeyCalls['read']>;
    const [, held] = [...this.keys].find(([id]) => url.includes(id)) ?? [];
    const body: Json = {};
    for (const [member, pointers] of Object.entries(call.takes)) setAt(body, [pointers].flat()[0] as string, held?.value[member]);
    return said(call, body);
  }

  #listedId(id: string): string {
    return this.#calls.idIsResourceName === true ? `made/up/${id}` : id;
  }

  #used({ url, body }: Sent): EgressAnswer {
    const call = this.#calls.used as KeyCall & { readonly at: string };
    const [, held] = [...this.keys].find(([id]) => `${url} ${body}`.includes(id)) ?? [];
    const answered: Json = {};
    const at = held?.isUsed === true ? call.at : call.at.replace(/[^/]+$/, 'Beside');
    setAt(answered, at, new Date(NOW).toISOString());
    return said(call, answered);
  }

  #mint(sent: Sent): EgressAnswer {
    const { mint, list } = this.#calls;
    if (this.#connector.key.strategy === 'in_place') this.keys.clear();
    const name = list?.name === undefined ? undefined : /keyturn-run_[0-9a-z]+/.exec(`${sent.body} ${sent.url}`)?.[0];
    const { value } = this.#make(name);
    const body: Json = {};
    for (const [member, pointers] of Object.entries(mint.takes)) {
      const given = member === this.idMember ? this.#listedId(String(value[member])) : value[member];
      setAt(body, [pointers].flat()[0] as string, given);
    }
    if (mint.takesDocument !== undefined) setAt(body, mint.takesDocument, btoa(JSON.stringify(value)));
    return said(mint, body);
  }

  async #test(sent: Sent, by: CallAuthentication): Promise<EgressAnswer> {
    const { test } = this.#calls;
    for (const [id, { value, isDisabled }] of this.keys) {
      const isAsked = by.by === 'headers' && JSON.stringify(by).includes('{admin.');
      const asks = [sent.url, sent.body].some((text) => text.includes(id) || text.includes(String(value['key'])));
      if (isDisabled || !(isAsked ? asks : await this.#isBy(value, by, sent))) continue;
      const body: Json = {};
      setAt(body, [test.worksWhen.at].flat()[0] as string, asJson(test.worksWhen.is ?? 'made-up'));
      return said(test, body);
    }
    return refused((test.rejectedBy ?? [{ status: 401 }])[0] as { status: number });
  }

  #end(sent: Sent): EgressAnswer {
    const { disable, revoke } = this.#calls;
    const call = sent.call === 'disable' ? disable : revoke;
    const id = [...this.keys.keys()].find((known) => [sent.url, sent.body].some((text) => text.includes(known)));
    const held = this.keys.get(id ?? '');
    if (id === undefined || held === undefined) return refused((call?.goneBy ?? [{ status: 404 }])[0] as { status: number });
    if (sent.call === 'disable') held.isDisabled = true;
    else if (disable !== undefined && !held.isDisabled) return answer(400, '{"error":"active"}');
    else this.keys.delete(id);
    return answer(call?.succeeds?.[0] ?? 204, '');
  }

  #make(name: string | undefined): HeldKey {
    const number = this.#made++;
    const { mint, idMember = 'key_id' } = this.#calls;
    const id = `id${number}${this.#mark}-made-up`;
    const takes = this.#calls.read?.takes ?? mint.takes;
    const members = mint.takesDocument === undefined ? Object.keys(takes) : ['private_key'];
    const value: Record<string, unknown> =
      mint.takesDocument === undefined
        ? {}
        : { client_email: `robot${this.#mark}@project.example`, project_id: 'made-up-project' };
    for (const member of members) value[member] = `NotReal${this.#mark}${member.replaceAll('_', '')}${number}q7Zx9Lw2Kp4Rt6Vb8Nm`;
    if (mint.takesDocument !== undefined) value['private_key'] = rsaKey(number + 10 * this.#mark.length).privateKey;
    value[idMember] = id;
    const held = { value, name, madeAt: this.now(), isDisabled: false, isUsed: false };
    this.keys.set(id, held);
    return held;
  }

  async #isBy(value: StoredValue, by: CallAuthentication, sent: Sent): Promise<boolean> {
    const proof = sent.headers['authorization'] ?? '';
    const fill = (template: string) =>
      template.replaceAll(/\{(\w+)\.(\w+)\}/g, (_, group: string, member: string) =>
        String(group === 'parameters' ? this.parameters[member] : value[member]),
      );
    switch (by.by) {
      case 'headers':
        return Object.entries(by.headers).every(([name, template]) => sent.headers[name] === fill(template));
      case 'basic':
        return proof === `Basic ${btoa(`${fill(by.username)}:${fill(by.password)}`)}`;
      case 'digest': {
        const challenge = { realm: 'made up', nonce: NONCE, opaque: undefined, algorithm: 'MD5' } as const;
        const asked = { method: sent.method, url: sent.url, username: fill(by.username), password: fill(by.password) };
        const cnonce = /cnonce="(\w+)"/.exec(proof)?.[1] ?? '';
        return proof === answerChallenge(challenge, asked, entropy, cnonce);
      }
      case 'sigv4': {
        const { 'x-amz-date': date = '', 'content-type': type = '' } = sent.headers;
        const signed = { method: sent.method, url: sent.url, headers: { 'x-amz-date': date, 'content-type': type } };
        const key = { keyId: fill(by.keyId), key: fill(by.key), region: by.region, service: by.service };
        return proof === signV4({ ...signed, body: new TextEncoder().encode(sent.body) }, key, date);
      }
      case 'jwt_bearer': {
        const jwt = new URLSearchParams(sent.body).get('assertion') ?? '';
        const pair = rsaKeys.find((one) => one?.privateKey === value['private_key']);
        if (pair === undefined || decodeJwt(jwt).iss !== fill(by.issuer)) return false;
        const key = await importSPKI(pair.publicKey, 'RS256');
        const verified = jwtVerify(jwt, key, { audience: fill(by.audience), currentDate: new Date(NOW) });
        return verified.then(
          () => true,
          () => false,
        );
      }
      case 'standard_webhook':
        throw new Error('no shipped connector signs so');
      case 'none':
        return new URLSearchParams(sent.body).has('client_secret')
          ? new URLSearchParams(sent.body).get('client_secret') === value['key']
          : sent.body.includes(String(value['key']));
    }
  }
}

/** A key whose answer was lost cannot be told from one that somebody uses: it stays until a person deletes it. */
export function isOnlyNamed(calls: KeyCalls | undefined): boolean {
  const { list, used } = calls ?? {};
  return list?.createdAt !== undefined && (list.name ?? list.usedAt ?? used) === undefined;
}

export function madeUpParameters({ parameters = [] }: KeyConnector): Readonly<Record<string, string>> {
  return Object.fromEntries(
    parameters.map(({ name, shape, default: preset, values }) => [
      name,
      preset ?? values?.[0] ?? (shape === 'host' ? 'made-up.example' : (SHAPED[name] ?? 'made-up')),
    ]),
  );
}

/** Of parameters whose form a provider's description checks. */
const SHAPED: Readonly<Record<string, string>> = {
  account_sid: `AC${'0'.repeat(32)}`,
  org_id: '0123456789abcdef01234567',
};

function madeUpAdmin(calls: KeyCalls, mark: string): StoredValue {
  const members = [...JSON.stringify(calls).matchAll(/\{admin\.(\w+)\}/g)].map(([, member = '']) => member);
  return Object.fromEntries(members.map((member) => [member, `NotRealAdmin${mark}${member.replaceAll('_', '')}c3Xv5Bn7Mq9`]));
}

/** A value of the JSON type that the member's name implies. */
function sampleOf(member: string): unknown {
  if (member === 'access_level') return 30;
  if (member === 'rate_limit') return { window: 60, count: 10 };
  if (member === 'condition') return { request_ip: { in: ['192.0.2.0/24'], not_in: [] } };
  if (member === 'policies') return [{ effect: 'allow', resources: { made_up: '*' }, permission_groups: [{ id: 'made-up' }] }];
  return member.endsWith('s') ? ['made_up_one', 'made_up_two'] : `copied-${member}`;
}

type Json = Record<string, unknown>;

/** Writes to where `valueAt` would read. */
function setAt(body: Json, pointer: string, value: unknown): void {
  if (pointer === '') return;
  const star = pointer.indexOf('/*');
  if (star >= 0) {
    const inner = (value as unknown[]).map((item) => {
      const made: Json = {};
      setAt(made, pointer.slice(star + 2), item);
      return made;
    });
    setAt(body, pointer.slice(0, star), inner);
    return;
  }
  const segments = pointer.slice(1).split('/');
  let at: Json = body;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    if (next === undefined) at[segment] = value;
    else {
      at[segment] ??= /^\d+$/.test(next) ? [] : {};
      at = at[segment] as Json;
    }
  }
}

const asJson = (text: string) => (text === 'true' ? true : text === 'false' ? false : text);

function said(call: KeyCall, body: unknown): EgressAnswer {
  const status = call.succeeds?.[0] ?? 200;
  return call.answer === 'xml' ? answer(status, toXml(body as Json)) : answer(status, JSON.stringify(body));
}

function toXml(members: Json): string {
  return Object.entries(members)
    .flatMap(([name, value]) =>
      [value].flat().map((item) => `<${name}>${typeof item === 'object' ? toXml(item as Json) : String(item)}</${name}>`),
    )
    .join('');
}

function refused({ status, text = 'refused' }: { status: number; text?: string }): EgressAnswer {
  return answer(status, `{"made_up":"${text}"} ${text}`);
}

export function answer(status: number, body: string, headers: Record<string, string> = {}): EgressAnswer {
  return { status, headers, body: SecretValue.fromText(body), sentAtMs: NOW };
}

const reveal = (secret: SecretValue | Uint8Array) =>
  secret instanceof SecretValue ? secret.reveal((bytes) => new TextDecoder().decode(bytes)) : new TextDecoder().decode(secret);

/** The request with the declared call that it is. @throws if no declared call has this form */
function readable(request: EgressRequest, calls: KeyCalls): Sent {
  const headers = Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, typeof value === 'string' ? value : reveal(value)]),
  );
  const body = request.body === undefined ? '' : reveal(request.body);
  const sent = { method: request.method, url: request.url, headers, body };
  const fitting = callsOf(calls).filter(([, call]) => call.method === sent.method && fits(call, sent));
  // What reads one key is asked with the same request by `inspect` and by a test with the admin credential: the test is played.
  const call = fitting.at(-1)?.[0];
  if (call === undefined) throw new Error('a request was sent that no declared call describes');
  return { call, ...sent };
}

function patternOf(template: string, hole = '.+?'): string {
  return template
    .split(/\{(?:name|\w+\.\w+)\}/)
    .map((text) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
    .join(hole);
}

function fits(call: KeyCall, { url, body }: Pick<Sent, 'url' | 'body'>): boolean {
  if (!new RegExp(`^${patternOf(call.url, '[^/]+?')}(?:[&?].*)?$`).test(url)) return false;
  if (call.json !== undefined) {
    const [wanted, given] = [call.json as Json, JSON.parse(body) as Json];
    return typeof wanted['query'] === 'string'
      ? new RegExp(`^${patternOf(wanted['query'])}$`).test(String(given['query']))
      : true;
  }
  const form = new URLSearchParams(body);
  return Object.entries(call.form ?? {}).every(([name, value]) => value.includes('{') || form.get(name) === value);
}
