// Looking at every cell of a data directory that nobody serves, with the keys: every row, the map, the log, the pages.
// It must never change a file, nor make one.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';
import { NO_FAULTS } from '../base/faults.ts';
import { SteadyClock } from '../base/steady-clock.ts';
import { KeyRegister } from '../cell/register.ts';
import { type ScrubPart, scrub } from '../cell/scrub.ts';
import type { TenantRow } from '../cell/tenants.ts';
import { type CellOptions, openForReading } from '../vault/open-cell.ts';
import { type DataPaths, dataPaths, fileWitness, openInstallation, readPassphrase } from './data-directory.ts';
import { openNodeSql } from './sqlite.ts';

export interface DeepOptions {
  readonly dataDirectory: string;
  readonly rootKeyFile?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly witnessDirectory?: string | undefined;
}

/** What was found in one cell. */
export interface ScrubbedCell {
  /** `home`, or the tenant's name. */
  readonly name: string;
  readonly id: string;
  readonly parts: readonly ScrubPart[];
  /** Why it could not be looked into at all. */
  readonly refused: string | undefined;
}

/**
 * Each cell as soon as it was looked at, the home cell first.
 * @throws conflict while a service runs on it; sealed when there is no installation or the root key does not fit
 */
export function* scrubDataDirectory(options: DeepOptions): Generator<ScrubbedCell> {
  const paths = dataPaths(resolve(options.dataDirectory), options.rootKeyFile, options.witnessDirectory);
  if (!existsSync(paths.installation)) fail('sealed', `there is no installation in ${paths.directory}`);
  const passphrase = options.passphraseFile === undefined ? undefined : readPassphrase(options.passphraseFile);
  const { root, installationId } = openInstallation(paths, NO_ENTROPY, passphrase);
  const registerSql = openNodeSql(paths.register, { readonly: true });
  try {
    const register = new KeyRegister(registerSql, root, installationId);
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
  /** Read while it is open. */
  readonly also?: (rows: ReturnType<typeof openForReading>) => void;
  /** Absent for the home cell, of which nobody says it. */
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
      if (!existsSync(path)) fail('rolled_back', 'its database is missing: restore it from a copy');
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
      // A directory in use is no finding; there is nothing to say about any of its cells.
      if (!(error instanceof KeyturnError) || error.code === 'conflict') throw error;
      return { name, id, parts: [], refused: `${error.code}: ${error.message}` };
    }
  };
}

const NO_ENTROPY = { bytes: () => fail('internal', 'nothing is made here'), fraction: () => 0 };

/** Nothing runs while a cell is only looked at. */
const IDLE = {
  clock: new SteadyClock({ now: () => Date.now(), ran: () => performance.now() }),
  entropy: NO_ENTROPY,
  faults: NO_FAULTS,
  nextTick: () => {},
  later: () => {},
  witness: { publish: () => {} },
} as const;
