// Page cursors, signed so that a forged or foreign one is refused (DS-08).

import { fail } from '../base/errors.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import { hmacSha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';
import type { Page } from '../vault/describe-credential.ts';
import type { Answer } from './route.ts';

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

/** One page of a list: its rows as they leave, and the cursor of the next page or null. */
export function pageAnswer<R>(key: KeyObject, scope: string, page: Page<R>, view: (row: R) => unknown): Answer {
  const next = page.next === undefined ? null : signCursor(key, scope, page.next);
  return { status: 200, body: { items: page.rows.map((row) => view(row)), next_cursor: next } };
}
