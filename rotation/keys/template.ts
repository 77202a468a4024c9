// Fills the templates of a declared call. The variables are a closed list; whatever else is in braces is plain text.
// It must never put a value into an error, nor let a value change the host or the path of a URL.
import type { Template } from '../connector.ts';

export interface Variables {
  readonly parameters: Readonly<Record<string, string>>;
  readonly old: Readonly<Record<string, unknown>>;
  readonly admin: Readonly<Record<string, unknown>>;
  readonly value?: Readonly<Record<string, unknown>>;
  readonly copied?: Readonly<Record<string, unknown>>;
  readonly ends?: Readonly<Record<string, string | number>>;
  readonly name: string;
}

export const VARIABLE = /\{(name|(?:parameters|old|admin|value|copied|ends)\.[A-Za-z0-9_]+)\}/g;
const WHOLE = new RegExp(`^${VARIABLE.source}$`);
/** Variables that may contain a secret. */
const SECRET = /\{(?:old|admin|value)\./;

/** A call that cannot be made with these values; the word is a cause. */
export class Unfillable extends Error {
  readonly word: string;
  constructor(word: string) {
    super(word);
    this.word = word;
  }
}

export const mayContainSecret = (template: Template): boolean => SECRET.test(template);

function lookUp(variables: Variables, path: string): unknown {
  if (path === 'name') return variables.name;
  const [group = '', member = ''] = path.split('.');
  const members = variables[group as Exclude<keyof Variables, 'name'>];
  const found = members !== undefined && Object.hasOwn(members, member) ? members[member] : undefined;
  if (found !== undefined && found !== null && found !== '') return found;
  // A missing copied member is an optional one: the others are required when they are taken.
  if (group === 'copied' && members !== undefined) return undefined;
  throw new Unfillable(`${group === 'old' ? 'value' : group}_lacks_${member.toLowerCase()}`);
}

function plainText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** @throws Unfillable */
export function fillText(template: Template, variables: Variables): string {
  return template.replaceAll(VARIABLE, (_, path: string) => plainText(lookUp(variables, path) ?? ''));
}

/** A JSON value with every template in it filled. @throws Unfillable */
export function fillJson(json: unknown, variables: Variables): unknown {
  if (typeof json === 'string') {
    const path = WHOLE.exec(json)?.[1];
    return path === undefined ? fillText(json, variables) : lookUp(variables, path);
  }
  if (Array.isArray(json)) return json.map((item) => fillJson(item, variables)).filter((item) => item !== undefined);
  if (typeof json !== 'object' || json === null) return json;
  const members = Object.entries(json).map(([name, member]) => [name, fillJson(member, variables)] as const);
  return Object.fromEntries(members.filter(([, member]) => member !== undefined));
}

/** @throws Unfillable */
export function fillForm(form: Readonly<Record<string, Template>>, variables: Variables): URLSearchParams {
  const filled = fillJson(form, variables) as Record<string, unknown>;
  return new URLSearchParams(Object.entries(filled).map(([name, value]): [string, string] => [name, plainText(value)]));
}

const HOST = /^[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?$/;

/**
 * SECURITY: a value that is `.` or `..` would change the path of the request, and one with `/` in the host its destination; both are
 * refused (test/rotation/keys/template.test.ts). @throws Unfillable
 */
export function fillUrl(template: Template, variables: Variables): string {
  const [, scheme = '', authority = '', rest = ''] = /^(https?:\/\/)([^/?#]*)(.*)$/s.exec(template) ?? [];
  const host = fillText(authority, variables);
  if (!HOST.test(host)) throw new Unfillable('host_unusable');
  const path = rest.replaceAll(VARIABLE, (_, variable: string) => {
    const text = plainText(lookUp(variables, variable) ?? '');
    if (text === '' || /^\.{1,2}$/.test(text)) throw new Unfillable(`${variable.replace('.', '_').toLowerCase()}_unusable`);
    return encodeURIComponent(text);
  });
  return `${scheme}${host}${path}`;
}
