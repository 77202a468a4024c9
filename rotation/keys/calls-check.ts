// Checks calls that an operator declares for one credential: every rule of a shipped connector that the shapes do not hold by themselves.
// It must never accept calls that cannot be undone, or a URL whose host depends on a value.
import { fail } from '../../src/base/errors.ts';
import type { KeyCall, KeyCalls, KeyKind, KeySpec } from '../connector.ts';

const CALL_NAMES = ['inspect', 'list', 'mint', 'test', 'disable', 'revoke'] as const;
type CallName = (typeof CALL_NAMES)[number];

/** Members that values of a kind can have; of `json`, any. */
export const MEMBERS: Readonly<Record<KeyKind | 'oauth2', readonly string[] | undefined>> = {
  api_key: ['key', 'key_id'],
  basic: ['username', 'password'],
  database: ['url', 'engine', 'host', 'port', 'username', 'password', 'database'],
  oauth2: ['access_token'],
  json: undefined,
};
/** The members of which a rotation must replace one. */
const SECRETS: Readonly<Record<KeyKind, readonly string[] | undefined>> = {
  api_key: ['key'],
  basic: ['password'],
  database: ['password', 'url'],
  json: undefined,
};
const ENDS = ['date_time', 'date', 'hours', 'days', 'seconds'];

type Rules = Pick<KeySpec, 'credential' | 'adminKinds' | 'strategy' | 'hosts' | 'keysMaxCount'>;

/** @param at the pointer of the settings that contain `calls`. @throws invalid_request naming the field and the rule */
export function checkCalls(key: Rules, calls: KeyCalls, parameters: readonly string[], at: string): void {
  const refuse: Refuse = (place, rule) => fail('invalid_request', rule, { pointer: `${at}/calls${place}` });
  for (const name of CALL_NAMES) {
    const call = calls[name];
    if (call !== undefined) checkCall({ key, calls, parameters, refuse }, name, call);
  }
  checkEnding(key, calls, refuse);
  checkList(key, calls, refuse);
  checkMint(key, calls, refuse);
  const { authentication, url, json, form, headers } = calls.test;
  if (!variablesIn([authentication, url, json, form, headers]).some((variable) => variable.startsWith('value.')))
    refuse('/test', 'must use the value that is tested: a variable {value.<member>} in its authentication, URL or body');
}

type Refuse = (place: string, rule: string) => never;

interface Context {
  readonly key: Rules;
  readonly calls: KeyCalls;
  readonly parameters: readonly string[];
  readonly refuse: Refuse;
}

function checkCall(context: Context, name: CallName, call: KeyCall): void {
  const { calls, refuse } = context;
  const authentication = call.authentication ?? calls.authentication;
  checkRequest(context, name, call, authentication.by === 'sigv4');
  for (const [part, value] of Object.entries({ ...call, authentication })) {
    const place = part === 'authentication' && call.authentication === undefined ? '/authentication' : `/${name}/${part}`;
    for (const variable of variablesIn(value)) {
      if (!isKnown(context, name, variable)) refuse(place, unknownVariable(variable));
    }
  }
}

function checkRequest({ key, refuse }: Context, name: CallName, { method, url, json, form }: KeyCall, isSigned: boolean): void {
  const [, authority = ''] = /^https:\/\/([^/?#]+)\//.exec(url) ?? [];
  // SECURITY: a host from a value or a parameter could be any.
  if (!key.hosts.includes(authority))
    refuse(`/${name}/url`, 'must begin with https://, one of the hosts in the setting hosts, and /');
  if (json !== undefined && form !== undefined) refuse(`/${name}/form`, 'must not be given together with json');
  if (method === 'GET' && (json ?? form) !== undefined) refuse(`/${name}/method`, 'must not be GET for a request with a body');
  // AWS encodes a path that needs it twice, and a signature covers the path.
  if (isSigned && !/^https:\/\/[^/]+[A-Za-z0-9/_.~-]*$/.test(url))
    refuse(`/${name}/url`, 'must have a path of the characters A-Z a-z 0-9 / _ . ~ - and no query for sigv4');
}

function unknownVariable(variable: string): string {
  const safe = /^[\w.]{1,64}$/.test(variable) ? `{${variable}} ` : '';
  return `contains a variable ${safe}that this call does not have: see the table of variables in docs/custom-rotators.md; text in braces that is no variable needs a space in it`;
}

const ABOUT: ReadonlySet<CallName> = new Set(['test', 'disable', 'revoke']);

/** Whether the variable has a value in this call. */
function isKnown({ key, calls, parameters }: Context, name: CallName, variable: string): boolean {
  const [group = '', member = ''] = variable.split('.');
  const has = (kinds: readonly (KeyKind | 'oauth2')[]) => kinds.some((kind) => MEMBERS[kind]?.includes(member) ?? true);
  const known: Readonly<Record<string, () => boolean>> = {
    name: () => name === 'mint' && variable === 'name',
    parameters: () => parameters.includes(member),
    old: () => !ABOUT.has(name) && has([key.credential]),
    value: () => ABOUT.has(name) && has([key.credential]),
    admin: () => has(key.adminKinds ?? [key.credential]),
    copied: () => name === 'mint' && Object.keys(calls.inspect?.takes ?? {}).some((taken) => taken.replace('?', '') === member),
    ends: () => name === 'mint' && calls.lifetime !== undefined && ENDS.includes(member),
  };
  return Object.hasOwn(known, group) && known[group]?.() === true;
}

function checkEnding({ strategy }: Rules, { disable, revoke }: KeyCalls, refuse: Refuse): void {
  if (strategy === 'in_place' && (disable ?? revoke) !== undefined)
    refuse(
      revoke === undefined ? '/disable' : '/revoke',
      'must be absent with the strategy in_place: the new value ends the old one',
    );
  if (strategy !== 'in_place' && revoke === undefined)
    refuse('/revoke', 'is missing: with the strategy overlap a call must end the old value');
}

function checkList({ keysMaxCount }: Rules, { list, mint }: KeyCalls, refuse: Refuse): void {
  if (list === undefined) return;
  if (list.name === undefined && keysMaxCount === undefined)
    refuse('/list', 'must have a name, to find an interrupted key, or be given together with keys_max_count');
  if (list.name !== undefined && !variablesIn(mint).includes('name'))
    refuse('/mint', 'must give the new key the name {name}, because list reads a name');
}

function checkMint({ credential, strategy }: Rules, { mint, idMember = 'key_id', lifetime }: KeyCalls, refuse: Refuse): void {
  const taken = Object.keys(mint.takes).map((name) => name.replace('?', ''));
  const allowed = MEMBERS[credential];
  const foreign = taken.find((name) => allowed !== undefined && !allowed.includes(name));
  if (foreign !== undefined)
    refuse(`/mint/takes/${foreign}`, `must be a member of a value of kind ${credential}: ${allowed?.join(', ')}`);
  const secrets = SECRETS[credential];
  if (secrets === undefined ? taken.length === 0 : !secrets.some((name) => Object.hasOwn(mint.takes, name)))
    refuse('/mint/takes', `must take a new ${secrets?.join(' or ') ?? 'member'} from the answer`);
  if (strategy === 'overlap' && !Object.hasOwn(mint.takes, idMember))
    refuse('/mint/takes', 'must take the member that identifies the key at the provider: id_member, or else key_id');
  if (lifetime !== undefined && lifetime.defaultDays > lifetime.maxDays)
    refuse('/lifetime/default_days', 'must be at most max_days');
}

/** What is in braces and looks like a variable, in all texts of a value. */
function variablesIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return [...value.matchAll(/\{([^{}\s"]*)\}/g)].map(([, name = '']) => name);
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(variablesIn) : [];
}
