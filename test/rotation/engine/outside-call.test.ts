import { describe, expect, it } from 'vitest';
import { type CallPorts, makeCall, type OutsideCall } from '../../../rotation/engine/outside-call.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import type { FaultPoint } from '../../../src/base/faults.ts';
import { testTenant } from '../../kit/vaults.ts';

/** What happened, in order. */
async function scene(changes: Partial<OutsideCall<string, string, string>> = {}, ports: Partial<CallPorts> = {}) {
  const told: string[] = [];
  const faults = { at: (point: FaultPoint) => void told.push(point) };
  const { vault } = await testTenant({ faults });
  told.length = 0;
  const outside: OutsideCall<string, string, string> = {
    points: {
      begun: 'refresh.after-intent',
      before: 'refresh.before-call',
      after: 'refresh.after-call',
      settled: 'refresh.after-store',
    },
    begin: () => {
      told.push('begin');
      return { kind: 'go', attempt: 'attempt' };
    },
    call: async (attempt) => {
      told.push(`call ${attempt}`);
      return 'outcome';
    },
    settle: (_job, attempt, outcome) => {
      told.push(`settle ${attempt} ${outcome}`);
      return 'result';
    },
    hold: () => {
      told.push('hold');
      return () => void told.push('let go');
    },
    release: () => void told.push('release'),
    ...changes,
  };
  const wait = async (ms: number) => void told.push(`wait ${ms}`);
  const made = makeCall({ vault, wait, ...ports }, outside);
  const result = await made.catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  return { result, told: told.filter((what) => !what.startsWith('cell.')) };
}

const full = () => new KeyturnError('storage_full', 'the disk is full');

describe('an outside call', () => {
  it('is journalled, made and written down, each step once and in this order', async () => {
    const { result, told } = await scene();
    expect(result).toBe('result');
    expect(told).toEqual([
      'begin',
      'refresh.after-intent',
      'hold',
      'refresh.before-call',
      'call attempt',
      'refresh.after-call',
      'settle attempt outcome',
      'refresh.after-store',
      'let go',
      'release',
    ]);
  });

  it('is not made where there is none to make', async () => {
    const { result, told } = await scene({ begin: () => ({ kind: 'stop', as: 'nothing to do' }) });
    expect([result, told]).toEqual(['nothing to do', []]);
  });

  it('that breaks on our side leaves its intent, is held no longer and wipes what it opened', async () => {
    const { result, told } = await scene({ call: () => Promise.reject(new Error('a defect')) });
    expect(result).toBe('a defect');
    expect(told.slice(-2)).toEqual(['let go', 'release']);
    expect(told).not.toContain('settle attempt outcome');
  });

  it('whose outcome exists nowhere else waits for a full disk, and gives up when the process ends', async () => {
    let refusals = 3;
    const settle = () => {
      if (refusals-- > 0) throw full();
      return 'stored';
    };
    const { result, told } = await scene({ settle, mustBeKept: () => true });
    expect([result, told.filter((what) => what === 'wait 1000')]).toEqual(['stored', Array(3).fill('wait 1000')]);
    refusals = 3;
    expect(await scene({ settle, mustBeKept: () => true }, { isStopping: () => true })).toMatchObject({
      result: 'the disk is full',
    });
    refusals = 3;
    expect(await scene({ settle, mustBeKept: () => false })).toMatchObject({ result: 'the disk is full' });
  });
});
