// Rules that the engine does not keep yet. The simulation leaves them out and says so; each line goes away with the change that keeps it.
type Rule = 'a clock set back' | 'withdraws under a lapsed lease' | 'unsafe is sent twice at most' | 'one alert a state';

export const NOT_YET_KEPT: ReadonlySet<Rule> = new Set<Rule>([
  'a clock set back',
  'withdraws under a lapsed lease',
  'unsafe is sent twice at most',
  'one alert a state',
]);
