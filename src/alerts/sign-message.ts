// The signature of every request that Keyturn sends to an endpoint of the operator: Standard Webhooks 1.0.0, symmetric scheme.
// It must never sign a message without its id and its time, because a receiver judges replays by them.
import { hmacSha256, type KeyObject } from '../crypto/primitives.ts';

/** `webhook-signature`: Standard Webhooks 1.0.0, symmetric scheme: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`. */
export function signMessage(key: KeyObject, id: string, atSeconds: number, body: Uint8Array): string {
  const signed = Buffer.concat([new TextEncoder().encode(`${id}.${atSeconds}.`), body]);
  return `v1,${Buffer.from(hmacSha256(key, signed)).toString('base64')}`;
}
