// The secrets of a test as they come up, and the search for them in whatever must not have them: in clear, encoded, or only their start.
import { isUtf8 } from 'node:buffer';

const START_CHARS = 12;

export interface Sighting {
  readonly secret: string;
  readonly form: string;
}

interface Canary {
  readonly kind: string;
  readonly forms: ReadonlyMap<string, string>;
}

export class Canaries {
  readonly #known = new Map<string, Canary>();
  readonly kinds = new Set<string>();

  /** Short or repeated values count once; @param value as it travels */
  add(kind: string, value: string): string {
    if (value.length < START_CHARS) throw new Error(`${kind} is too short to be looked for`);
    this.kinds.add(kind);
    if (!this.#known.has(value)) this.#known.set(value, { kind, forms: formsOf(value) });
    return value;
  }

  get count(): number {
    return this.#known.size;
  }

  /** What is in `content`, in whatever case, where each of `shown` may be once and nowhere else. */
  in(content: string | Buffer, shown: readonly string[] = []): Sighting[] {
    let text = typeof content === 'string' ? Buffer.from(content).toString('latin1') : content.toString('latin1');
    for (const value of shown) text = text.replace(Buffer.from(value).toString('latin1'), () => '');
    text = text.toLowerCase();
    return [...this.#known.values()].flatMap(({ kind, forms }) =>
      [...forms].filter(([form]) => text.includes(form)).map(([, name]) => ({ secret: kind, form: name })),
    );
  }
}

/** Every spelling, in lower case, and what it is called; bytes are written as latin1. */
function formsOf(value: string): Map<string, string> {
  const forms = new Map<string, string>();
  const add = (form: string, name: string): void => {
    const lower = form.toLowerCase();
    if (lower.length >= START_CHARS - 2 && !forms.has(lower)) forms.set(lower, name);
  };
  const spell = (bytes: Buffer, what: string): void => {
    add(bytes.toString('latin1'), `${what}, plain`);
    add(bytes.toString('hex'), `${what}, hex`);
    // Inside of a longer text its bytes may stand at any of the three places of a group of base64.
    for (const before of [0, 1, 2]) {
      const padded = Buffer.concat([Buffer.alloc(before), bytes]);
      const first = before === 0 ? 0 : 4;
      const whole = Math.floor(padded.length / 3) * 4;
      add(padded.toString('base64').slice(first, whole), `${what}, base64`);
      add(padded.toString('base64url').slice(first, whole), `${what}, base64url`);
    }
    if (!isUtf8(bytes)) return;
    const text = bytes.toString('utf8');
    add(encodeURIComponent(text), `${what}, URL-encoded`);
    add(new URLSearchParams({ t: text }).toString().slice(2), `${what}, form-encoded`);
    add(Buffer.from(JSON.stringify(text).slice(1, -1)).toString('latin1'), `${what}, JSON-escaped`);
    add(text.replaceAll('&', '&amp;').replaceAll('"', '&quot;'), `${what}, HTML-escaped`);
  };
  spell(Buffer.from(value), 'whole');
  spell(Buffer.from(secretPartOf(value).slice(0, START_CHARS)), 'its start');
  const der = /^-----BEGIN [A-Z ]+-----([\s\S]+)-----END/.exec(value)?.[1];
  if (der !== undefined) spell(Buffer.from(der, 'base64').subarray(64, 96), 'its bytes');
  return forms;
}

/** Without what is public in front of it: what sort of token it is, whose it is. */
function secretPartOf(value: string): string {
  const made = /_([A-Za-z0-9_-]{16})_not-a-real-secret$/.exec(value)?.[1];
  const minted = /^kt_[a-z]+_[0-9A-Za-z]{12}([0-9A-Za-z]{49})$/.exec(value)?.[1];
  const pem = /^-----BEGIN [A-Z ]+-----\n[^\n]+\n([^\n]+)/.exec(value)?.[1];
  const bare = made ?? minted ?? pem ?? value.replace(/^(whsec_|v1,)/, '');
  // A JWT by its signature, a state by what is chance in it.
  return bare.split('.').at(-1) ?? bare;
}
