import { describe, expect, it } from 'vitest';
import { SecretValue } from '../../src/base/secret-value.ts';
import { signCheckpoint, signerFrom, verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { prepareField, prepareValue } from '../../src/crypto/data-key.ts';
import { open, prepareOpen, type SealContext, type SealingKey } from '../../src/crypto/envelope.ts';
import { Frontier, leafHash } from '../../src/crypto/merkle.ts';
import { secretKey } from '../../src/crypto/primitives.ts';
import { rootKeyFromText, SUBKEYS } from '../../src/crypto/root-key.ts';
import { rowMac } from '../../src/crypto/row-mac.ts';
import { hashToken, parseToken } from '../../src/crypto/token.ts';
import head from '../vectors/checkpoint-v1.json' with { type: 'json' };
import envelope from '../vectors/envelope-v1.json' with { type: 'json' };
import rows from '../vectors/row-mac-v1.json' with { type: 'json' };
import tenantKeys from '../vectors/tenant-key-v1.json' with { type: 'json' };
import tokens from '../vectors/token-v1.json' with { type: 'json' };
import { fromHex, hex, refusalOf, text, utf8 } from './fixtures.ts';

// Everything ever written must still open. A change that makes one of these tests fail needs a new format, not new vectors.

interface Mutation {
  what: string;
  at?: number;
  xor?: number;
  cutTo?: number;
  append?: string;
  evidence: string;
}

const context = envelope.context as SealContext;
const key: SealingKey = { id: envelope.key.id, version: envelope.key.version, key: secretKey(fromHex(envelope.key.bytes)) };

function mutate(sealed: Uint8Array, { at, xor, cutTo, append }: Mutation): Uint8Array {
  const bytes = Uint8Array.from([...sealed.subarray(0, cutTo ?? sealed.byteLength), ...fromHex(append ?? '')]);
  if (at !== undefined) bytes[at] = (bytes[at] ?? 0) ^ (xor ?? 0);
  return bytes;
}

describe('envelope v1', () => {
  it.each(envelope.blobs)('opens blob %#', ({ plaintext, sealed }) => {
    expect(open(key, context, fromHex(sealed)).reveal(text)).toBe(plaintext);
  });

  it.each(envelope.mutations as Mutation[])('refuses a changed $what as $evidence', (mutation) => {
    const sealed = fromHex(envelope.blobs[envelope.mutationsOf]?.sealed as string);
    expect(refusalOf(() => prepareOpen(key, context, mutate(sealed, mutation)).open())).toBe(`integrity: ${mutation.evidence}`);
  });

  it.each(envelope.contexts)('refuses another context %#', ({ change, evidence }) => {
    const sealed = fromHex(envelope.blobs[1]?.sealed as string);
    expect(refusalOf(() => open(key, { ...context, ...change } as SealContext, sealed))).toBe(`integrity: ${evidence}`);
  });

  it('has the published number of cases', () => {
    expect([envelope.blobs.length, envelope.mutations.length, envelope.contexts.length]).toEqual([4, 23, 6]);
  });

  it('opens values under data keys', () => {
    const { plaintext, wrappedKey, sealed } = envelope.dataKey;
    expect(text(prepareValue(key, context, fromHex(wrappedKey), fromHex(sealed)).open())).toBe(plaintext);
    const { fields } = envelope;
    for (const name of ['value', 'retained'] as const) {
      const prepared = prepareField(
        key,
        fields.context as SealContext,
        name,
        fromHex(fields.wrappedKey),
        fromHex(fields.sealed[name]),
      );
      expect(text(prepared.open())).toBe(fields.plaintexts[name]);
    }
  });

  // Written only from the diagram in envelope.ts: the diagram defines the format.
  it('is opened by an independent reader over WebCrypto', async () => {
    const { subtle } = globalThis.crypto;
    const frame = (value: string) => {
      const bytes = utf8(value);
      return [...new Uint8Array(Uint32Array.of(bytes.byteLength).buffer).reverse(), ...bytes];
    };
    const { installationId, tenantId, purpose, field, objectId, version } = context;
    const contextBytes = Uint8Array.from([
      ...['keyturn-context-v1', installationId, tenantId, purpose, field, objectId].flatMap(frame),
      ...[0, 0, 0, 0, 0, 0, 0, version],
    ]);
    for (const { plaintext, sealed } of envelope.blobs) {
      const blob = fromHex(sealed);
      const n = blob[8] as number;
      const [salt, nonce, commitment] = [blob.slice(9 + n, 41 + n), blob.slice(41 + n, 53 + n), blob.slice(53 + n, 85 + n)];
      const contextHash = new Uint8Array(await subtle.digest('SHA-256', contextBytes));
      const info = Uint8Array.from([...utf8('keyturn-envelope-v1'), blob[3] as number, ...contextHash]);
      const ikm = await subtle.importKey('raw', fromHex(envelope.key.bytes), 'HKDF', false, ['deriveBits']);
      const derived = new Uint8Array(await subtle.deriveBits({ name: 'HKDF', hash: 'SHA-512', salt, info }, ikm, 512));
      expect(hex(derived.slice(32))).toBe(hex(commitment));
      const encryptionKey = await subtle.importKey('raw', derived.slice(0, 32), 'AES-GCM', false, ['decrypt']);
      const additionalData = Uint8Array.from([...blob.slice(0, 85 + n), ...contextBytes]);
      const opened = await subtle.decrypt({ name: 'AES-GCM', iv: nonce, additionalData }, encryptionKey, blob.slice(85 + n));
      expect(text(new Uint8Array(opened))).toBe(plaintext);
    }
  });
});

describe('the key hierarchy v1', () => {
  const root = rootKeyFromText(tenantKeys.rootText);

  it('accepts its root key and derives the same subkeys', () => {
    expect(root.matches(tenantKeys.installationId, fromHex(tenantKeys.rootCheck))).toBe(true);
    for (const label of SUBKEYS) expect(hex(root.subkey(label).export())).toBe(tenantKeys.subkeys[label]);
    expect(Object.keys(tenantKeys.subkeys)).toEqual([...SUBKEYS]);
  });

  it('opens the register entry and the tenant key', () => {
    const erasureKey = root.unwrapErasureKey(tenantKeys.register, fromHex(tenantKeys.registerEntry));
    expect(erasureKey.reveal(hex)).toBe(tenantKeys.erasureKey);
    const tenantContext = { ...tenantKeys.tenantContext, purpose: 'oauth_token' } as const;
    const opened = root.openTenantKey(
      SecretValue.of(fromHex(tenantKeys.erasureKey)),
      tenantContext,
      fromHex(tenantKeys.wrappedTenantKey),
    );
    expect(hex(opened.export())).toBe(tenantKeys.tenantKey);
  });
});

describe('tokens v1', () => {
  it.each(tokens.minted)('parse and hash as before: $type', ({ type, token, publicId, hash }) => {
    expect(parseToken(token)).toMatchObject({ type, publicId });
    expect(hex(hashToken(secretKey(fromHex(tokens.pepper)), token))).toBe(hash);
  });
});

describe('row MACs v1', () => {
  it.each(rows.cases)('are the same as before (%#)', ({ columns, mac }) => {
    const live = columns.map((column) => (typeof column === 'object' && column !== null ? fromHex(column.blob) : column));
    expect(hex(rowMac(secretKey(fromHex(rows.key)), rows.table, rows.objectId, live))).toBe(mac);
  });
});

describe('checkpoints v1', () => {
  it('are signed and verified as before', () => {
    const signer = signerFrom(fromHex(head.seed), head.checkpoint.origin);
    const checkpoint = { ...head.checkpoint, root: fromHex(head.root) };
    expect(signer.vkey).toBe(head.vkey);
    expect(signCheckpoint(signer, checkpoint)).toBe(head.signed);
    expect(verifyCheckpoint(head.vkey, head.signed)).toEqual(checkpoint);
  });

  it('cover the same tree', () => {
    const frontier = new Frontier();
    for (let index = 0; index < 7; index++) frontier.append(leafHash(utf8(`event ${index}`)));
    expect(hex(frontier.toBytes())).toBe(head.frontier);
    expect(hex(Frontier.fromBytes(fromHex(head.frontier)).root())).toBe(head.root);
  });
});
