import { describe, expect, it } from 'vitest';
import { type CallPorts, callPorts, makeCall, type OutsideCall } from '../../../rotation/engine/outside-call.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import type { FaultPoint } from '../../../src/base/faults.ts';
import { LIMITS } from '../../../src/base/limits.ts';
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
      booking: 'refresh.before-store',
      booked: 'refresh.after-store',
    },
    begin: () => {
      told.push('begin');
      return { kind: 'go', attempt: 'attempt' };
    },
    call: async (attempt) => {
      told.push(`call ${attempt}`);
      return 'outcome';
    },
    book: (_job, attempt, outcome) => {
      told.push(`book ${attempt} ${outcome}`);
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
      'refresh.before-store',
      'book attempt outcome',
      'refresh.after-store',
      'let go',
      'release',
    ]);
  });

  it('passes no fault point that it does not name', async () => {
    const { told } = await scene({ points: { before: 'refresh.before-call', after: 'refresh.after-call' } });
    expect(told.filter((what) => what.startsWith('refresh.') || what === 'undefined')).toEqual([
      'refresh.before-call',
      'refresh.after-call',
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
    expect(told).not.toContain('book attempt outcome');
  });

  it('whose outcome exists nowhere else waits for a full disk, and gives up when the process ends', async () => {
    let refusals = 3;
    const book = () => {
      if (refusals-- > 0) throw full();
      return 'stored';
    };
    const { result, told } = await scene({ book, mustBeKept: () => true });
    expect([result, told.filter((what) => what === 'wait 1000')]).toEqual(['stored', Array(3).fill('wait 1000')]);
    refusals = 3;
    expect(await scene({ book, mustBeKept: () => true }, { isStopping: () => true })).toMatchObject({
      result: 'the disk is full',
    });
    refusals = 3;
    expect(await scene({ book, mustBeKept: () => true }, { isStopping: () => false })).toMatchObject({ result: 'stored' });
    refusals = 3;
    expect(await scene({ book, mustBeKept: () => false })).toMatchObject({ result: 'the disk is full' });
  });

  it.each([
    ['a disk that cannot be written', new KeyturnError('storage_unavailable', 'no disk'), LIMITS.storeTriesMax],
    ['a full disk', full(), LIMITS.storeTriesMax],
    ['another refusal of ours', new KeyturnError('integrity', 'damaged'), 1],
    ['a defect that only looks like one', Object.assign(new Error('not ours'), { code: 'storage_full' }), 1],
  ])('whose outcome exists nowhere else is stored in spite of %s as often as that makes sense', async (_, error, tries) => {
    let stores = 0;
    const book = () => {
      stores += 1;
      throw error;
    };
    const { result } = await scene({ book, mustBeKept: () => true });
    expect([result, stores]).toEqual([error.message, tries]);
  });

  it('whose outcome exists nowhere else is not stored again before the pause is over', async () => {
    let paused = true;
    const storedWhilePaused: boolean[] = [];
    const book = () => {
      storedWhilePaused.push(paused);
      if (storedWhilePaused.length < 2) throw full();
      return 'stored';
    };
    const wait = async () => {
      await new Promise((resume) => setImmediate(resume));
      paused = false;
    };
    await scene({ book, mustBeKept: () => true }, { wait });
    expect(storedWhilePaused).toEqual([true, false]);
  });

  it('begins in a job of its own, or in one that may wait for others where nobody waits for it', async () => {
    const { vault } = await testTenant();
    const jobs: string[] = [];
    const noting = new Proxy(vault, {
      get: (of, name) => {
        if (name !== 'submit' && name !== 'submitUnhurried') return Reflect.get(of, name, of);
        return <T>(job: () => T) => {
          jobs.push(name);
          return of.submit(job);
        };
      },
    });
    const wait = () => Promise.resolve();
    for (const isUnhurried of [false, true, undefined])
      await makeCall(
        { vault: noting, wait, ...(isUnhurried === undefined ? {} : { isUnhurried }) },
        {
          points: { before: 'refresh.before-call', after: 'refresh.after-call' },
          begin: () => ({ kind: 'go', attempt: 1 }),
          call: async () => 2,
          book: () => 3,
        },
      );
    expect(jobs).toEqual(['submit', 'submit', 'submitUnhurried', 'submit', 'submit', 'submit']);
  });

  it('of no engine waits by the timer of its vault', async () => {
    const { vault, wakes } = await testTenant();
    wakes.length = 0;
    const waited = callPorts(vault).wait(1);
    expect(wakes).toHaveLength(1);
    wakes[0]?.();
    await waited;
  });
});
