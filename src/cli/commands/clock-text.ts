// What doctor says of the service's clock, and what to do about it (decision 0012).
import { LIMITS } from '../../base/limits.ts';
import type { WireHealthDetail } from '../../http/v1/wire.ts';

export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
}

export function clockFinding({ state, ahead_seconds, steady_in_seconds }: NonNullable<WireHealthDetail['clock']>): Finding {
  const wait = `${steady_in_seconds} s`;
  switch (state) {
    case 'steady':
      return { level: 'ok', what: "the service's clock is steady" };
    case 'starting':
      return ahead_seconds * 1_000 <= LIMITS.clockJumpMaxMs
        ? { level: 'ok', what: `the service's clock is steady in ${wait}: until then nothing is destroyed or purged` }
        : {
            level: 'warn',
            what: `the service's clock is ${ahead_seconds} s past the last time that was committed, as after a time off; it is committed in ${wait}. If the service was not off so long, set the clock right before`,
          };
    case 'jump_waiting':
      return {
        level: 'fail',
        what: `the service's clock jumped, and is ${ahead_seconds} s ahead of the proven time: nothing is destroyed or purged, and the jump is committed in ${wait}. If the clock is wrong, set it right before`,
      };
    case 'behind':
      return {
        level: 'fail',
        what: `the service's clock is ${-ahead_seconds} s behind a time that was committed: what expired by then stays expired, and nothing is destroyed or purged. Set it right; if it is right, start once with \`keyturn serve --accept-clock\``,
      };
  }
}
