// Writes the frozen vectors of every stored format, once. What they hold must open for ever: it refuses to overwrite them.
// Run: node test/vectors/make-envelope-v1.ts
import { writeFileSync } from 'node:fs';
import { SecretValue } from '../../src/base/secret-value.ts';
import { signCheckpoint, signerFrom } from '../../src/crypto/checkpoint.ts';
import { sealFields, sealUnderDataKey } from '../../src/crypto/data-key.ts';
import { type SealContext, seal } from '../../src/crypto/envelope.ts';
import { Frontier, leafHash } from '../../src/crypto/merkle.ts';
import { secretKey, sha256 } from '../../src/crypto/primitives.ts';
import { RootKey, rootKeyText } from '../../src/crypto/root-key.ts';
import { rowMac } from '../../src/crypto/row-mac.ts';
import { hashToken, mintToken, parseToken, TOKEN_TYPES } from '../../src/crypto/token.ts';

const encoder = new TextEncoder();
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const madeUp = (name: string) => sha256(encoder.encode(`not-a-real-secret: ${name}`));

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';
const TENANT = 'ten_0123456789abcdefghjkmnpq';
const KEY_ID = 'key_0123456789abcdefghjkmnpq';
const context: SealContext = {
  installationId: INSTALLATION,
  tenantId: TENANT,
  purpose: 'api_key',
  field: 'credential_version.value',
  objectId: 'crd_0123456789abcdefghjkmnpq',
  version: 3,
};

function write(name: string, content: object): void {
  writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(content, null, 2)}\n`, { flag: 'wx' });
}

function envelopes(): object {
  const keyBytes = madeUp('tenant key');
  const key = { id: KEY_ID, version: 7, key: secretKey(keyBytes) };
  const plaintexts = ['', 'not-a-real-secret', '{"unicode":"Ünïcödé 🔑"}', 'x'.repeat(1000)];
  const blobs = plaintexts.map((plaintext) => ({ plaintext, sealed: hex(seal(key, context, encoder.encode(plaintext))) }));
  const one = sealUnderDataKey(key, context, encoder.encode('not-a-real-secret: one value'));
  const fieldsContext = { ...context, field: 'credential_version' };
  const fields = { value: 'not-a-real-secret: access token', retained: 'not-a-real-secret: refresh token' };
  const several = sealFields(key, fieldsContext, {
    value: encoder.encode(fields.value),
    retained: encoder.encode(fields.retained),
  });
  const at = 9 + KEY_ID.length;
  const sealed = (blobs[1] as { sealed: string }).sealed;
  const end = sealed.length / 2;
  return {
    note: 'Made-up keys and values. These blobs must open for ever; the mutated ones must fail with exactly this evidence.',
    key: { id: KEY_ID, version: 7, bytes: hex(keyBytes) },
    context,
    blobs,
    dataKey: { plaintext: 'not-a-real-secret: one value', wrappedKey: hex(one.wrappedKey), sealed: hex(one.sealed) },
    fields: {
      context: fieldsContext,
      plaintexts: fields,
      wrappedKey: hex(several.wrappedKey),
      sealed: { value: hex(several.sealed['value'] as Uint8Array), retained: hex(several.sealed['retained'] as Uint8Array) },
    },
    mutationsOf: 1,
    mutations: [
      { what: 'magic', at: 0, xor: 1, evidence: 'malformed' },
      { what: 'format 0', at: 2, xor: 1, evidence: 'malformed' },
      { what: 'format 3', at: 2, xor: 2, evidence: 'malformed' },
      { what: 'suite 0', at: 3, xor: 1, evidence: 'unknown suite' },
      { what: 'suite 3', at: 3, xor: 2, evidence: 'unknown suite' },
      { what: 'suite 255', at: 3, xor: 254, evidence: 'unknown suite' },
      { what: 'key version', at: 7, xor: 1, evidence: 'wrong key' },
      { what: 'key version 0', at: 7, xor: 7, evidence: 'malformed' },
      { what: 'key id shortened', at: 8, xor: 7, evidence: 'wrong key' },
      { what: 'key id length beyond the blob', at: 8, xor: 128, evidence: 'malformed' },
      { what: 'key id letter', at: 9, xor: 1, evidence: 'wrong key' },
      { what: 'key id control character', at: 9, xor: 0x60, evidence: 'malformed' },
      { what: 'salt', at, xor: 1, evidence: 'commit mismatch' },
      { what: 'nonce', at: at + 32, xor: 1, evidence: 'tag mismatch' },
      { what: 'commitment', at: at + 44, xor: 128, evidence: 'commit mismatch' },
      { what: 'ciphertext', at: at + 76, xor: 1, evidence: 'tag mismatch' },
      { what: 'tag', at: end - 1, xor: 1, evidence: 'tag mismatch' },
      { what: 'last byte cut', cutTo: end - 1, evidence: 'tag mismatch' },
      { what: 'cut to less than one tag', cutTo: at + 76 + 15, evidence: 'malformed' },
      { what: 'cut after the key id', cutTo: at, evidence: 'malformed' },
      { what: 'cut inside the magic', cutTo: 1, evidence: 'malformed' },
      { what: 'nothing left', cutTo: 0, evidence: 'malformed' },
      { what: 'a trailing byte', append: '00', evidence: 'tag mismatch' },
    ],
    contexts: [
      { change: { installationId: 'ins_1123456789abcdefghjkmnpq' }, evidence: 'commit mismatch' },
      { change: { tenantId: 'ten_1123456789abcdefghjkmnpq' }, evidence: 'commit mismatch' },
      { change: { purpose: 'oauth_token' }, evidence: 'commit mismatch' },
      { change: { field: 'credential_version.retained' }, evidence: 'commit mismatch' },
      { change: { objectId: 'crd_1123456789abcdefghjkmnpq' }, evidence: 'commit mismatch' },
      { change: { version: 2 }, evidence: 'commit mismatch' },
    ],
  };
}

function tenantKeys(): object {
  const rootBytes = madeUp('root key');
  const root = RootKey.of(rootBytes);
  const erasureBytes = madeUp('erasure key');
  const tenantKeyBytes = madeUp('tenant key');
  const register = { installationId: INSTALLATION, tenantId: TENANT };
  const tenantContext = { ...register, purpose: 'oauth_token' as const, keyId: KEY_ID, version: 2 };
  const erasureKey = SecretValue.of(erasureBytes);
  return {
    note: 'Made-up keys. The register entry and the tenant key must open for ever.',
    rootText: rootKeyText(rootBytes),
    installationId: INSTALLATION,
    rootCheck: hex(root.rootCheck(INSTALLATION)),
    register,
    registerEntry: hex(root.wrapErasureKey(register, erasureKey)),
    erasureKey: hex(erasureBytes),
    tenantContext,
    tenantKey: hex(tenantKeyBytes),
    wrappedTenantKey: hex(root.sealTenantKey(erasureKey, tenantContext, tenantKeyBytes)),
    subkeys: {
      'home-wrap': hex(root.subkey('home-wrap').export()),
      'token-pepper': hex(root.subkey('token-pepper').export()),
      'cursor-mac': hex(root.subkey('cursor-mac').export()),
      'grant-fingerprint': hex(root.subkey('grant-fingerprint').export()),
      webhook: hex(root.subkey('webhook').export()),
      connect: hex(root.subkey('connect').export()),
    },
  };
}

function tokens(): object {
  const pepper = madeUp('pepper');
  const key = secretKey(pepper);
  const minted = TOKEN_TYPES.map((type) => {
    const token = mintToken(type).token.reveal((bytes) => new TextDecoder().decode(bytes));
    return { type, token, publicId: parseToken(token)?.publicId, hash: hex(hashToken(key, token)) };
  });
  return { note: 'No real tokens: minted for this file only.', pepper: hex(pepper), minted };
}

function rowMacs(): object {
  const keyBytes = madeUp('metadata key');
  const key = secretKey(keyBytes);
  const rows = [
    [],
    [null],
    [''],
    [0],
    ['a', 'bc'],
    ['ab', 'c'],
    [1, -1.5, 9007199254740991, null, 'Ünïcödé 🔑'],
    [{ blob: '00ff' }, 'x'],
  ];
  const cases = rows.map((columns) => {
    const live = columns.map((column) =>
      typeof column === 'object' && column !== null ? Buffer.from(column.blob, 'hex') : column,
    );
    return { columns, mac: hex(rowMac(key, 'credential', 'crd_0123456789abcdefghjkmnpq', live)) };
  });
  return { note: 'Made-up key.', key: hex(keyBytes), table: 'credential', objectId: 'crd_0123456789abcdefghjkmnpq', cases };
}

function checkpoint(): object {
  const seed = madeUp('log seed');
  const origin = `keyturn/${INSTALLATION}/${TENANT}`;
  const signer = signerFrom(seed, origin);
  const leaves = Array.from({ length: 7 }, (_, index) => leafHash(encoder.encode(`event ${index}`)));
  const frontier = new Frontier();
  frontier.appendAll(leaves);
  const head = {
    origin,
    size: 7,
    stateSequence: 12,
    lowestKeyVersion: 2,
    incarnation: 'inc_0123456789abcdefghjkmnpq',
    at: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  };
  return {
    note: 'Made-up seed. Ed25519 is deterministic: signing again must give the same text.',
    seed: hex(seed),
    vkey: signer.vkey,
    events: 'event 0 to event 6',
    frontier: hex(frontier.toBytes()),
    root: hex(frontier.root()),
    checkpoint: head,
    signed: signCheckpoint(signer, { ...head, root: frontier.root() }),
  };
}

write('envelope-v1.json', envelopes());
write('tenant-key-v1.json', tenantKeys());
write('token-v1.json', tokens());
write('row-mac-v1.json', rowMacs());
write('checkpoint-v1.json', checkpoint());
