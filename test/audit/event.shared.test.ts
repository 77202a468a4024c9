import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventText } from '../../src/audit/event.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';

const words = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed());
const optional = fc.option(words, { nil: undefined });

describe('an event has the given members', () => {
  const least = { action: 'a', actor: { type: 'user', id: 'u' }, outcome: 'success', reason: 'r', request: 'q', target: { type: 't' } } as const; // biome-ignore format: one line
  const said = (more: Partial<Parameters<typeof eventText>[0]> = {}, atMs = 0) =>
    JSON.parse(eventText({ ...least, ...more }, 7, atMs));
  const shown = { ...least, at: '1970-01-01T00:00:00.000Z', index: 7, v: 1 };

  it('and no others', () => {
    expect(said()).toEqual(shown);
  });

  it('each in its place', () => {
    expect(said({ workflow: 'w' })).toEqual({ ...shown, context: { workflow: 'w' } });
    expect(said({ workflowRun: 'n' })).toEqual({ ...shown, context: { run: 'n' } });
    expect(said({ clientRequest: 'c', source: 's' })).toEqual({ ...shown, client_request: 'c', source: 's' });
    expect(said({ details: { version: 2, kind: 'k' } })).toEqual({ ...shown, details: { kind: 'k', version: 2 } });
    const target = { type: 't', id: 'i', name: 'n', name_sha256: 'h', environment: 'e' };
    expect(said({ target, actor: { type: 'user', id: 'u', token: 'x' } })).toEqual({ ...shown, target, actor: { type: 'user', id: 'u', token: 'x' } }); // biome-ignore format: one line
    expect([said({}, 1), said({}, 86_400_000)].map(({ at }) => at)).toEqual([
      '1970-01-01T00:00:00.001Z',
      '1970-01-02T00:00:00.000Z',
    ]);
  });
});

describe('the text of an event', () => {
  it('is the RFC 8785 form of its content, with any optional members', () => {
    fc.assert(
      fc.property(
        fc.record({
          action: words,
          actor: fc.record({ type: fc.constantFrom('user', 'workload', 'system', 'anonymous'), id: words }),
          outcome: fc.constantFrom('success', 'failure', 'denied'),
          reason: words,
          request: words,
          clientRequest: optional,
          source: optional,
          target: fc.record({ type: words, id: words, name: words, environment: words }, { requiredKeys: ['type'] }),
          details: fc.option(fc.record({ version: fc.nat(), kind: words, count: fc.nat(), token: words }, { requiredKeys: [] }), {
            nil: undefined,
          }),
          workflow: optional,
          workflowRun: optional,
        }),
        fc.nat(),
        fc.integer({ min: 0, max: 4_102_444_800_000 }),
        (input, index, atMs) => {
          const text = eventText(input as Parameters<typeof eventText>[0], index, atMs);
          expect(text).toBe(canonicalJson(JSON.parse(text)));
          expect(text).not.toContain('\n');
        },
      ),
    );
  });
});
