// When a sample of changes says that the tests are not good enough. It must never refuse a good tree by the luck of the draw.

/** Of a tree whose tests notice at least this share of all changes ... */
const GOOD_PERCENT = 90;
/** ... at most one run in so many is refused. */
const RUNS_TO_A_FALSE_ALARM = 1_000;

/**
 * Whether `missed` of `tried` changes are too many. A sample of forty says little about a few percent, and CI asks after every change with
 * a fresh seed, so only what chance does not explain counts: of forty, twelve. At a true 95 % that happens once in a hundred thousand runs,
 * at 70 % in every second one, at 60 % nearly always; a lasting fall is seen within a few runs. None tried at all is refused, too.
 */
export function isRefused(tried: number, missed: number): boolean {
  return tried === 0 || chanceOfAtLeast(missed, tried, 1 - GOOD_PERCENT / 100) < 1 / RUNS_TO_A_FALSE_ALARM;
}

/** Of `tried` independent draws with the chance `each`, that at least `count` hit. */
export function chanceOfAtLeast(count: number, tried: number, each: number): number {
  let exactly = (1 - each) ** tried;
  let fewer = 0;
  for (let hits = 0; hits < count; hits++) {
    fewer += exactly;
    exactly *= ((tried - hits) / (hits + 1)) * (each / (1 - each));
  }
  return 1 - fewer;
}
