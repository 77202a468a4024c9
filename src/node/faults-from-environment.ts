// Fault points of a test build on Node: `FAULT=<point>[:kill|error|stall][:<nth>]`, used only with KEYTURN_TEST_BUILD=1 (D11).

import { KeyturnError } from '../base/errors.ts';
import { FAULT_POINTS, type FaultPoint, type Faults, NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';

/** @throws RangeError for an unknown point, so that a misspelt name does not make a test pass without a fault */
export function faultsFromEnvironment(environment: Readonly<Record<string, string | undefined>>): Faults {
  const wanted = environment['FAULT'];
  if (wanted === undefined || wanted === '' || environment['KEYTURN_TEST_BUILD'] !== '1') return NO_FAULTS;
  const [point, mode = 'kill', nth = '1'] = wanted.split(':');
  if (!FAULT_POINTS.includes(point as FaultPoint))
    throw new RangeError(`the fault point in FAULT is unknown; use one of ${FAULT_POINTS.join(', ')}`);
  if (!['kill', 'error', 'stall'].includes(mode)) throw new RangeError('the mode in FAULT must be kill, error or stall');
  let left = Number(nth);
  return {
    at(here) {
      if (here !== point || --left !== 0) return;
      if (mode === 'kill') process.kill(process.pid, 'SIGKILL');
      if (mode === 'stall') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LIMITS.faultStallMs);
      if (mode === 'error') throw new KeyturnError('unavailable', 'a fault point was hit', { evidence: here });
    },
  };
}
