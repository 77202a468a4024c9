// One fresh data key per version of a value: the tenant key wraps the data key, the data key seals the fields.
// It must never use a data key for a second version, or open a value in order to rewrap its key.
import { fail } from '../base/errors.ts';
import { headerOf, open, type PreparedOpen, prepareOpen, type SealContext, type SealingKey, seal } from './envelope.ts';
import { adoptKey, KEY_BYTES, randomBytes } from './primitives.ts';

/**
 * A wrapped data key is an envelope under the tenant key, its field `<field>/data-key`, whose plaintext is
 *
 *     0    15    random name; the data key's id is "dek_" + base64url(name), its version 1
 *     15   32    data key
 */
const NAME_BYTES = 15;
const DATA_KEY_VERSION = 1;
const FIELD_NAME = /^[a-z][a-z0-9_]{0,63}$/;

export interface SealedValue {
  readonly wrappedKey: Uint8Array;
  readonly sealed: Uint8Array;
}

export interface SealedFields {
  readonly wrappedKey: Uint8Array;
  /** One blob for each given field, by its name. */
  readonly sealed: Record<string, Uint8Array>;
}

/** Seals one value under a data key of its own. `context.field` is `table.column`. */
export function sealUnderDataKey(tenantKey: SealingKey, context: SealContext, plaintext: Uint8Array): SealedValue {
  const { dataKey, wrappedKey } = newDataKey(tenantKey, context);
  return { wrappedKey, sealed: seal(dataKey, context, plaintext) };
}

/** Seals the fields of one version under one data key; `context.field` is the table, and each is bound to `table.<name>`. */
export function sealFields(
  tenantKey: SealingKey,
  context: SealContext,
  fields: Readonly<Record<string, Uint8Array>>,
): SealedFields {
  const { dataKey, wrappedKey } = newDataKey(tenantKey, context);
  const sealed: Record<string, Uint8Array> = {};
  for (const [name, plaintext] of Object.entries(fields)) sealed[name] = seal(dataKey, fieldContext(context, name), plaintext);
  return { wrappedKey, sealed };
}

/** Makes a value of `sealUnderDataKey` ready: both keys are unwrapped and checked. @throws integrity */
export function prepareValue(
  tenantKey: SealingKey,
  context: SealContext,
  wrappedKey: Uint8Array,
  sealed: Uint8Array,
): PreparedOpen {
  return prepareOpen(unwrap(tenantKey, context, wrappedKey), context, sealed);
}

/** As `prepareValue` for one field of `sealFields`. @throws integrity */
export function prepareField(
  tenantKey: SealingKey,
  context: SealContext,
  field: string,
  wrappedKey: Uint8Array,
  sealed: Uint8Array,
): PreparedOpen {
  return prepareOpen(unwrap(tenantKey, context, wrappedKey), fieldContext(context, field), sealed);
}

/** As `prepareField` for several fields of one version, whose data key is unwrapped once. @throws integrity */
export function prepareFields<F extends string>(
  tenantKey: SealingKey,
  context: SealContext,
  wrappedKey: Uint8Array,
  sealed: Readonly<Record<F, Uint8Array>>,
): Record<F, PreparedOpen> {
  const dataKey = unwrap(tenantKey, context, wrappedKey);
  const prepared = Object.entries<Uint8Array>(sealed).map(([field, blob]) => [
    field,
    prepareOpen(dataKey, fieldContext(context, field), blob),
  ]);
  return Object.fromEntries(prepared) as Record<F, PreparedOpen>;
}

/** The same data key wrapped under `newKey`; the sealed fields do not change. @throws integrity */
export function rewrapDataKey(oldKey: SealingKey, newKey: SealingKey, context: SealContext, wrappedKey: Uint8Array): Uint8Array {
  const place = wrapContext(context);
  const plaintext = open(oldKey, place, wrappedKey);
  try {
    return plaintext.reveal((bytes) => seal(newKey, place, bytes));
  } finally {
    plaintext.wipe();
  }
}

/** The id of the tenant key that wrapped a data key. @throws integrity when it is not an envelope v1 */
export function dataKeyOf(wrappedKey: Uint8Array): { keyId: string; keyVersion: number } {
  const { keyId, keyVersion } = headerOf(wrappedKey);
  return { keyId, keyVersion };
}

function newDataKey(tenantKey: SealingKey, context: SealContext): { dataKey: SealingKey; wrappedKey: Uint8Array } {
  const plaintext = randomBytes(NAME_BYTES + KEY_BYTES);
  const wrappedKey = seal(tenantKey, wrapContext(context), plaintext);
  return { wrappedKey, dataKey: toDataKey(plaintext) };
}

function unwrap(tenantKey: SealingKey, context: SealContext, wrappedKey: Uint8Array): SealingKey {
  const plaintext = prepareOpen(tenantKey, wrapContext(context), wrappedKey).open();
  if (plaintext.byteLength !== NAME_BYTES + KEY_BYTES) {
    fail('integrity', 'stored data failed its check', { evidence: 'malformed' });
  }
  return toDataKey(plaintext);
}

/** Wipes the key's bytes in `plaintext`. */
function toDataKey(plaintext: Uint8Array): SealingKey {
  const name = Buffer.from(plaintext.subarray(0, NAME_BYTES)).toString('base64url');
  return { id: `dek_${name}`, version: DATA_KEY_VERSION, key: adoptKey(plaintext.subarray(NAME_BYTES)) };
}

function wrapContext(context: SealContext): SealContext {
  return { ...context, field: `${context.field}/data-key` };
}

// SECURITY: a field's name cannot contain "/" or ".", so no field can stand for a wrap or for another table.
function fieldContext(context: SealContext, name: string): SealContext {
  if (!FIELD_NAME.test(name)) fail('internal', 'the name of a sealed field must be a column name');
  return { ...context, field: `${context.field}.${name}` };
}
