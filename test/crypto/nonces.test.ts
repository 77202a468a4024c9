import { expect, it } from 'vitest';
import { seal } from '../../src/crypto/envelope.ts';
import { CONTEXT, madeUpKey } from './fixtures.ts';

it('repeats no nonce and no salt in 100 000 seals under one key', () => {
  const key = madeUpKey();
  const saltAt = 9 + key.id.length;
  const salts = new Set<string>();
  const nonces = new Set<string>();
  for (let i = 0; i < 100_000; i++) {
    const sealed = Buffer.from(seal(key, CONTEXT, new Uint8Array(0)).buffer);
    salts.add(sealed.toString('latin1', saltAt, saltAt + 32));
    nonces.add(sealed.toString('latin1', saltAt + 32, saltAt + 44));
  }
  expect({ salts: salts.size, nonces: nonces.size }).toEqual({ salts: 100_000, nonces: 100_000 });
});
