// Checks every cell in the data directory of a stopped service: every row, the map, the log, the pages.
// It must never change or create a file.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';
import { NO_FAULTS } from '../base/faults.ts';
import { SteadyClock } from '../base/steady-clock.ts';
import { KeyRegister } from '../cell/register.ts';
import { type ScrubPart, scrub } from '../cell/scrub.ts';
import type { TenantRow } from '../cell/tenants.ts';
import { type CellOptions, openForReading } from '../vault/open-cell.ts';
import { type DataPaths, dataPaths, fileWitness, openInstallation } from './data-directory.ts';
import { type RootOptions, rootSources } from './root-providers.ts';
import { openNodeSql } from './sqlite.ts';

export interface DeepOptions extends RootOptions {
  readonly dataDirectory: string;
  readonly witnessDirectory?: string | undefined;
}

/** The result for one cell. */
export interface ScrubbedCell {
  /** `home`, or the tenant's name. */
  readonly name: string;
  readonly id: string;
  readonly parts: readonly ScrubPart[];
  /** Why the cell could not be opened. */
  readonly refused: string | undefined;
}

/**
 * Yields each cell after its check, the home cell first.
 * @throws conflict while a service uses the directory; sealed if there is no installation or the root key is wrong
 */
export async function* scrubDataDirectory(options: DeepOptions): AsyncGenerator<ScrubbedCell> {
  const paths = dataPaths(resolve(options.dataDirectory), options.rootKeyFile, options.witnessDirectory);
  if (!existsSync(paths.installation))
    fail('sealed', `the directory ${paths.directory} contains no installation: give the directory with --data`);
  const { root, installationId } = await openInstallation(paths, NO_ENTROPY, rootSources(options, paths.keyfile));
  const registerSql = openNodeSql(paths.register, { readonly: true });
  try {
    const register = new KeyRegister(registerSql, root, installationId);
    register.loadInstallationKeys();
    const look = lookerOf(paths, { root, installationId }, register);
    const tenants: TenantRow[] = [];
    const also = (rows: ReturnType<typeof openForReading>) => {
      const own = rows.of<TenantRow>('tenant');
      tenants.push(...own.intact(rows.sql.all<TenantRow>(`${own.select} WHERE state = 'active' ORDER BY name`)));
    };
    yield look({ kind: 'home', id: installationId, name: 'home', path: paths.home, also });
    for (const { id, name, anchored } of tenants)
      yield look({ kind: 'tenant', id, name, path: paths.tenant(id), anchored: anchored === 1 });
  } finally {
    registerSql.close();
  }
}

interface CellToLook {
  readonly kind: CellOptions['kind'];
  readonly id: string;
  readonly name: string;
  readonly path: string;
  /** Called while the cell is open. */
  readonly also?: (rows: ReturnType<typeof openForReading>) => void;
  /** Whether the home cell lists the cell as anchored; absent for the home cell itself. */
  readonly anchored?: boolean;
}
type Looker = (cell: CellToLook) => ScrubbedCell;

function lookerOf(
  paths: DataPaths,
  platform: Pick<CellOptions['platform'], 'root' | 'installationId'>,
  register: KeyRegister,
): Looker {
  const witness = fileWitness(paths, () => {});
  return ({ kind, id, name, path, also, anchored }) => {
    try {
      if (!existsSync(path)) fail('rolled_back', 'its database is missing: restore it from a backup');
      const sql = openNodeSql(path, { readonly: true });
      try {
        const opening = { witnessed: witness.latest(id), mustExist: true, anchored, hasWitness: anchored };
        const rows = openForReading({
          kind,
          sql,
          cellId: id,
          erasureKey: register.open(id),
          platform: { ...IDLE, ...platform },
          opening,
        });
        also?.(rows);
        return { name, id, parts: [...scrub(rows)].filter((part) => part !== undefined), refused: undefined };
      } finally {
        sql.close();
      }
    } catch (error) {
      // A directory in use is an error of the whole check, not a finding about a cell.
      if (!(error instanceof KeyturnError) || error.code === 'conflict') throw error;
      return { name, id, parts: [], refused: `${error.code}: ${error.message}` };
    }
  };
}

const NO_ENTROPY = { bytes: () => fail('internal', 'a check must not create anything'), fraction: () => 0 };

/** No background work runs during a check. */
const IDLE = {
  clock: new SteadyClock({ now: () => Date.now(), ran: () => performance.now() }),
  entropy: NO_ENTROPY,
  faults: NO_FAULTS,
  nextTick: () => {},
  later: () => {},
  witness: { publish: () => {} },
} as const;
