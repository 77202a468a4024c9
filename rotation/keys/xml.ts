// Reads the XML of an answer (AWS query APIs) into members: elements and text only; attributes and namespaces are ignored.
// It must never resolve an entity other than the five of XML, nor throw because of a provider's answer.
import { LIMITS } from '../../src/base/limits.ts';

type Element = Record<string, unknown>;

const TOKEN = /<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<(\/?)([A-Za-z_][\w.:-]*)(?:\s[^<>]*?)?(\/?)>|([^<]+)/gy;
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

interface Open {
  readonly name: string;
  readonly members: Element;
  text: string;
}

/** An element becomes a member; one that occurs twice becomes a list. Undefined if the text is not such XML. */
export function readXml(text: string): Element | undefined {
  const root: Element = {};
  const open: Open[] = [{ name: '', members: root, text: '' }];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const token = TOKEN.exec(text);
    if (token === null || !takeToken(open, token)) return undefined;
  }
  return open.length === 1 && Object.keys(root).length === 1 ? root : undefined;
}

/** False if the token may not stand there. */
function takeToken(open: Open[], [, closes, name, empty, content]: RegExpExecArray): boolean {
  const parent = open.at(-1);
  if (parent === undefined) return false;
  if (content !== undefined) parent.text += content;
  if (name === undefined) return true;
  if (closes === '/') return closeElement(open, name);
  if (empty === '/') add(parent.members, name, '');
  return empty === '/' || open.push({ name, members: {}, text: '' }) <= LIMITS.bodyMaxDepth;
}

function closeElement(open: Open[], name: string): boolean {
  const done = open.pop();
  const around = open.at(-1);
  if (done?.name !== name || around === undefined) return false;
  add(around.members, name, Object.keys(done.members).length > 0 ? done.members : decoded(done.text.trim()));
  return true;
}

function add(members: Element, name: string, value: unknown): void {
  const before = Object.hasOwn(members, name) ? members[name] : undefined;
  // A list is never copied: an answer may repeat one element many thousand times.
  if (Array.isArray(before)) return void before.push(value);
  const next = before === undefined ? value : [before, value];
  Object.defineProperty(members, name, { value: next, enumerable: true, configurable: true, writable: true });
}

function decoded(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,4}));/g, (whole, decimal, hex, name: string) => {
    const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? Number.parseInt(hex, 16) : undefined;
    if (code !== undefined) return code <= 0x10_ffff ? String.fromCodePoint(code) : whole;
    return Object.hasOwn(ENTITIES, name) ? (ENTITIES[name] as string) : whole;
  });
}
