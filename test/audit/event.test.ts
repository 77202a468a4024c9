import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventBytes } from '../../src/audit/event.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';

const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed());
const optional = fc.option(text, { nil: undefined });

describe('the bytes of an event', () => {
  it('are the RFC 8785 form of what they say, whatever optional parts it has', () => {
    fc.assert(
      fc.property(
        fc.record({
          action: text,
          actor: fc.record({ type: fc.constantFrom('user', 'workload', 'system', 'anonymous'), id: text }),
          outcome: fc.constantFrom('success', 'failure', 'denied'),
          reason: text,
          request: text,
          clientRequest: optional,
          source: optional,
          target: fc.record({ type: text, id: text, name: text, environment: text }, { requiredKeys: ['type'] }),
          details: fc.option(fc.record({ version: fc.nat(), kind: text, count: fc.nat(), token: text }, { requiredKeys: [] }), { nil: undefined }),
          workflow: optional,
          workflowRun: optional,
        }),
        fc.nat(),
        fc.integer({ min: 0, max: 4_102_444_800_000 }),
        (input, index, atMs) => {
          const bytes = new TextDecoder().decode(eventBytes(input as Parameters<typeof eventBytes>[0], index, atMs));
          expect(bytes).toBe(canonicalJson(JSON.parse(bytes)));
          expect(bytes).not.toContain('\n');
        },
      ),
    );
  });
});
