// Page cursors, signed so that forged cursors and cursors of other lists are rejected (DS-08).

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

/** `scope` identifies the list (route, tenant, path fields): a cursor is valid only for its own list. */
export function signCursor(key: KeyObject, scope: string, after: string): string {
  return Buffer.concat([tag(key, scope, after), encoder.encode(after)]).toString('base64url');
}

/** @throws invalid_request */
export function openCursor(key: KeyObject, scope: string, text: string): string {
  const bytes = Buffer.from(text, 'base64url');
  const after = bytes.subarray(12).toString('utf8');
  const good = text.length <= 512 && bytes.byteLength >= 12 && bytes.toString('base64url') === text;
  if (!good || !equalBytes(tag(key, scope, after), bytes.subarray(0, 12))) {
    fail('invalid_request', 'the cursor must be the next_cursor of a page of this list', { pointer: '?cursor' });
  }
  return after;
}

/** The answer for one page of a list: the rows in wire form and the cursor of the next page, or null. */
export function pageAnswer<R>(key: KeyObject, scope: string, page: Page<R>, view: (row: R) => unknown): Answer {
  const next = page.next === undefined ? null : signCursor(key, scope, page.next);
  return { status: 200, body: { items: page.rows.map((row) => view(row)), next_cursor: next } };
}
