// The account with keys that the sandbox plays for the connector local-sandbox-key. Every key works until it is deleted.
// It must never contain a real key; all of them end with the process.
import { randomBytes } from 'node:crypto';
import { LIMITS } from '../../src/base/limits.ts';
import { type Ask, jsonReply, type Reply } from './persona-ask.ts';

const HOST = 'keys.sandbox.example/';

export class KeyAccount {
  /** The key that a person puts first. */
  readonly first = { key_id: 'first', key: `sbx-${randomBytes(18).toString('base64url')}` };
  readonly #keys = new Map([[this.first.key_id, { name: 'first', secret: this.first.key }]]);

  /** Undefined: the address is not of this account. */
  answer({ method, address, bearer, fields }: Ask): Reply | undefined {
    if (!address.startsWith(HOST)) return undefined;
    const [resource = '', id] = address.slice(HOST.length).split('/');
    const own = [...this.#keys].find(([, { secret }]) => secret === bearer);
    if (own === undefined) return jsonReply(401, { error: 'no such key' });
    switch (`${method} ${resource}${id === undefined ? '' : '/id'}`) {
      case 'GET me':
        return jsonReply(200, { id: own[0] });
      case 'GET keys':
        return jsonReply(200, { keys: [...this.#keys].map(([key, { name }]) => ({ id: key, name })) });
      case 'POST keys':
        return this.#make(fields['name'] ?? '');
      case 'DELETE keys/id':
        return this.#keys.delete(id ?? '') ? { status: 204, headers: {}, body: '' } : jsonReply(404, { error: 'no such key' });
      default:
        return jsonReply(404, { error: 'no such address' });
    }
  }

  #make(name: string): Reply {
    if (this.#keys.size >= LIMITS.sandboxKeysMaxCount) return jsonReply(409, { error: 'too many keys' });
    const [id, secret] = [randomBytes(6).toString('hex'), `sbx-${randomBytes(18).toString('base64url')}`];
    this.#keys.set(id, { name, secret });
    return jsonReply(201, { id, name, secret });
  }
}
