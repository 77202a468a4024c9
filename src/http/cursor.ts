// Page cursors, signed so that a forged or foreign one is refused (DS-08).

import { fail } from '../base/errors.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import { hmacSha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';

const encoder = new TextEncoder();

function tag(key: KeyObject, scope: string, after: string): Buffer {
  return Buffer.from(hmacSha256(key, encoder.encode(`${scope.length}:${scope}${after}`))).subarray(0, 12);
}

/** `scope` names route and place, so a cursor works nowhere else. */
export function signCursor(key: KeyObject, scope: string, after: string): string {
  return Buffer.concat([tag(key, scope, after), encoder.encode(after)]).toString('base64url');
}

/** @throws invalid_request */
export function openCursor(key: KeyObject, scope: string, text: string): string {
  const bytes = Buffer.from(text, 'base64url');
  const after = bytes.subarray(12).toString('utf8');
  const good = text.length <= 512 && bytes.byteLength >= 12 && bytes.toString('base64url') === text;
  if (!good || !equalBytes(tag(key, scope, after), bytes.subarray(0, 12))) {
    fail('invalid_request', 'is not a cursor of this list', { pointer: '?cursor' });
  }
  return after;
}
