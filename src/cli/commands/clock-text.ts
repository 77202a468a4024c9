// The text of `keyturn doctor` about the service's clock (decision 0012).
import { LIMITS } from '../../base/limits.ts';
import type { WireHealthDetail } from '../../http/v1/wire.ts';

export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
}

export function clockFinding({ state, ahead_seconds, steady_in_seconds }: NonNullable<WireHealthDetail['clock']>): Finding {
  const wait = waitText(steady_in_seconds ?? 0);
  switch (state) {
    case 'steady':
      return { level: 'ok', what: "the service's clock is steady" };
    case 'starting':
      return ahead_seconds * 1_000 <= LIMITS.clockJumpMaxMs
        ? {
            level: 'ok',
            what: `the service has started recently: its clock is steady in ${wait}, and until then nothing is destroyed or purged`,
          }
        : {
            level: 'warn',
            what: `the service's clock is ${ahead_seconds} s ahead of the last committed time, as after a downtime; the new time is committed in ${wait}. If there was no such downtime, correct the clock before then`,
          };
    case 'jump_waiting':
      return {
        level: 'fail',
        what: `the service's clock jumped and is ${ahead_seconds} s ahead of the proven time: nothing is destroyed or purged, and the new time is committed in ${wait}. If the clock is wrong, correct it before then`,
      };
    case 'behind':
      return {
        level: 'fail',
        what: `the service's clock is ${-ahead_seconds} s behind a committed time: what has expired stays expired, and nothing is destroyed or purged. Correct the clock; if it is correct, start once with \`keyturn serve --accept-clock\``,
      };
  }
}

const waitText = (seconds: number): string => (seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`);
