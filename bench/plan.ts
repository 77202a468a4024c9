// How much of everything a run does, and where it puts its data.
import { parseArgs } from 'node:util';

export const SECTIONS = ['offline', 'open', 'http', 'refreshes', 'memory', 'start'] as const;
export type Section = (typeof SECTIONS)[number];

export interface Plan {
  readonly quick: boolean;
  /** Keep the filled databases for the next run, in the temporary directory. */
  readonly keep: boolean;
  readonly sections: ReadonlySet<Section>;
  readonly profileDirectory: string | undefined;
  readonly connections: readonly number[];
  /** The number of connections the targets speak of. */
  readonly targetConnections: number;
  readonly warmUpSeconds: number;
  readonly roundSeconds: number;
  readonly rounds: number;
  readonly targetRounds: number;
  readonly smallRows: number;
  readonly coldRows: number;
  readonly largeRows: number;
  readonly timedReads: number;
  readonly readRounds: number;
  readonly refreshSeconds: number;
  readonly grants: { readonly minimal: number; readonly sandbox: number };
  /** All due at once. */
  readonly stormGrants: number;
  /** Refreshed again and again while others read: each every six seconds. */
  readonly loadGrants: number;
  readonly refreshRounds: number;
  /** A multiple of those six seconds. */
  readonly refreshRoundSeconds: number;
  readonly tenants: number;
  /** One by one, before the large tenant is opened once more. */
  readonly loneWrites: number;
  readonly starts: number;
}

const FULL = {
  connections: [1, 16, 64, 256],
  targetConnections: 64,
  warmUpSeconds: 2,
  roundSeconds: 2,
  rounds: 2,
  targetRounds: 5,
  smallRows: 1_000,
  coldRows: 20_000,
  largeRows: 1_000_000,
  timedReads: 12_800,
  readRounds: 5,
  refreshSeconds: 2,
  grants: { minimal: 512, sandbox: 256 },
  stormGrants: 12_000,
  loadGrants: 1_150,
  refreshRounds: 4,
  refreshRoundSeconds: 12,
  tenants: 1_000,
  loneWrites: 40_000,
  starts: 5,
};
const QUICK: typeof FULL = {
  ...FULL,
  connections: [1, 64],
  warmUpSeconds: 1,
  roundSeconds: 1,
  rounds: 1,
  targetRounds: 3,
  coldRows: 10_000,
  largeRows: 50_000,
  timedReads: 3_200,
  readRounds: 3,
  refreshSeconds: 1,
  grants: { minimal: 128, sandbox: 64 },
  stormGrants: 2_000,
  refreshRounds: 2,
  refreshRoundSeconds: 6,
  tenants: 100,
  loneWrites: 2_000,
  starts: 2,
};

/** @throws for an unknown option or section */
export function planOf(args: readonly string[]): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      only: { type: 'string' },
      profile: { type: 'string' },
    },
  });
  const wanted = values.only?.split(',') ?? SECTIONS;
  const unknown = wanted.find((name) => !(SECTIONS as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`--only takes some of: ${SECTIONS.join(',')}`);
  return {
    ...(values.quick ? QUICK : FULL),
    quick: values.quick,
    keep: values.keep,
    sections: new Set(wanted as Section[]),
    profileDirectory: values.profile,
  };
}
