// Decides whether a sample of mutations fails CI. It must never fail a good tree by chance.

/**
 * A tree is good when its tests notice at least this share of all mutations. The target is 95; not every folder has been measured at it yet,
 * and this rises with the measured score.
 */
const GOOD_PERCENT = 80;
/** Of a good tree at most one run in so many fails. */
const RUNS_TO_A_FALSE_ALARM = 1_000;

/**
 * Whether `missed` of `tried` mutations fail the sample. Forty mutations cannot show a difference of a few percent, and CI draws a fresh
 * sample each time, so a sample fails only when a good tree would give it less than once in RUNS_TO_A_FALSE_ALARM runs: 17 missed of 40.
 * With a true score of 90 % that is one run in ten million, with 75 % one in eighty, with 60 % four of ten, with 50 % nearly every run. A
 * sample without any mutation fails.
 */
export function isRefused(tried: number, missed: number): boolean {
  return tried === 0 || chanceOfAtLeast(missed, tried, 1 - GOOD_PERCENT / 100) < 1 / RUNS_TO_A_FALSE_ALARM;
}

/** The probability of at least `count` hits in `tried` independent draws, each with the probability `each`. */
export function chanceOfAtLeast(count: number, tried: number, each: number): number {
  let exactly = (1 - each) ** tried;
  let fewer = 0;
  for (let hits = 0; hits < count; hits++) {
    fewer += exactly;
    exactly *= ((tried - hits) / (hits + 1)) * (each / (1 - each));
  }
  return 1 - fewer;
}
