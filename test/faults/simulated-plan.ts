// How much is simulated: `npm run test:faults` tells every story, a plain test run a tenth of them; SEED=n tells one again.
import { inject } from 'vitest';
import { type Report, type Scene, simulate } from './simulated-refresh.ts';

export const SIMULATION_TIMEOUT_MS = 600_000;

/** Only names with VITE_ reach a test in workerd. */
const { VITE_SEED: SEED, VITE_SIMULATED_STORIES } = process.env;
const STORIES = Number(VITE_SIMULATED_STORIES ?? 2);
const FAULTS_A_STORY = 500;
/** The first story is the same in every run, so that a slow loss of it is noticed; the others are new ones. */
const FIRST_SEED = 20_260_101;

/** Tells all stories on one store, each on a database of its own, and says what they came to. */
export async function playAll(
  store: string,
  withScene: (tell: (scene: Scene) => Promise<void>) => Promise<void>,
): Promise<Report> {
  const fresh = Array.from({ length: STORIES - 1 }, (_, i) => inject('seed') + i);
  const seeds = SEED === undefined ? [FIRST_SEED, ...fresh] : [Number(SEED)];
  let total: Report | undefined;
  for (const one of seeds) {
    await withScene(async (scene) => {
      total = added(total, await simulate(scene, one, FAULTS_A_STORY));
    });
  }
  if (total === undefined) throw new Error('nothing was simulated');
  const said = Object.entries(total).map(([name, count]) => `${count} ${name}`);
  console.info(`simulated refreshes on ${store}: ${said.join(', ')}`);
  return total;
}

function added(total: Report | undefined, report: Report): Report {
  if (total === undefined) return report;
  const sum = { ...total };
  for (const name of Object.keys(sum) as (keyof Report)[]) sum[name] += report[name];
  return sum;
}
