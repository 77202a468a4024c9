// The head of the map of a cell (anchor.ts): one row with a MAC of its own; all other parts of the map are checked against it.
// It must never return a head with a wrong MAC.
import { fail } from '../base/errors.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { equalBytes, hmacSha256 } from '../crypto/primitives.ts';
import type { MacKeys } from '../crypto/row-mac.ts';
import type { Sql, SqlValue } from './sql.ts';

/** A position in the history of the map: the hash chain over all changes up to this epoch. */
export interface AnchorPosition {
  readonly epoch: number;
  readonly chain: Uint8Array;
}

/** The members of the head that belong to the audit log. */
export interface LogHead {
  readonly size: number;
  readonly stateSequence: number;
  readonly frontier: Uint8Array;
}

/** The columns that the MAC of the head covers. */
export interface HeadFacts {
  readonly size: number;
  readonly state_sequence: number;
  readonly frontier: Uint8Array;
  readonly epoch: number;
  readonly start: number;
  readonly start_chain: Uint8Array;
  readonly chain: Uint8Array;
  readonly entries: string;
  readonly salt: Uint8Array;
  readonly incarnation_id: string;
  readonly published: number;
  readonly time_at: number;
}

interface HeadRow extends HeadFacts {
  readonly mac: Uint8Array;
  readonly mac_key_id: string;
}

const HEAD_COLUMNS = [
  'size',
  'state_sequence',
  'frontier',
  'epoch',
  'start',
  'start_chain',
  'chain',
  'entries',
  'salt',
  'incarnation_id',
  'published',
  'time_at',
] as const;
/** The columns that a batch with changed rows changes. */
const MAP_COLUMNS = HEAD_COLUMNS.filter((name) => name !== 'salt' && name !== 'incarnation_id');
/** The columns that every batch changes. */
const LOG_COLUMNS = ['size', 'state_sequence', 'frontier', 'published', 'time_at'] as const;
/** The kinds of write, by what changed since the last one. */
const WRITES = {
  all: {
    columns: HEAD_COLUMNS,
    statement: `INSERT OR REPLACE INTO anchor_head (id, ${HEAD_COLUMNS.join(', ')}, mac, mac_key_id) VALUES (1, ${HEAD_COLUMNS.map(() => '?').join(', ')}, ?, ?)`,
  },
  map: { columns: MAP_COLUMNS, statement: updateOf(MAP_COLUMNS) },
  log: { columns: LOG_COLUMNS, statement: updateOf(LOG_COLUMNS) },
} as const;

const frames = new FrameWriter();

export class AnchorHead {
  readonly #sql: Sql;
  readonly #keyring: MacKeys;
  /** The common first frames of every MAC of this cell's head. */
  readonly #domain: Uint8Array;

  constructor(sql: Sql, keyring: MacKeys) {
    this.#sql = sql;
    this.#keyring = keyring;
    const { installationId, cellId } = keyring.identity;
    this.#domain = new FrameWriter().text('keyturn-anchor-head-v1').text(installationId).text(cellId).bytes();
  }

  static exists(sql: Sql): boolean {
    return sql.get('SELECT 1 AS present FROM anchor_head WHERE id = 1') !== undefined;
  }

  /** @throws integrity when there is no head, or its MAC is wrong */
  read(): HeadFacts {
    const row = this.#sql.get<HeadRow>('SELECT * FROM anchor_head WHERE id = 1') ?? refuse('the head is missing');
    const mac = this.#mac(keyOf(this.#keyring, row.mac_key_id), row);
    return equalBytes(mac, row.mac) ? row : refuse('the head failed its check');
  }

  /** @param what the columns that changed since the last write; `all`: also when there is no head yet */
  write(facts: HeadFacts, what: keyof typeof WRITES): void {
    const { keyId, key } = this.#keyring.macKey();
    const { columns, statement } = WRITES[what];
    const values: SqlValue[] = columns.map((column) => facts[column]);
    this.#sql.run(statement, ...values, this.#mac(key, facts), keyId);
  }

  get macKeyId(): string | undefined {
    return this.#sql.get<{ mac_key_id: string }>('SELECT mac_key_id FROM anchor_head WHERE id = 1')?.mac_key_id;
  }

  #mac(key: Parameters<typeof hmacSha256>[0], facts: HeadFacts): Uint8Array {
    frames.clear().raw(this.#domain);
    for (const column of HEAD_COLUMNS) {
      const value = facts[column];
      if (typeof value === 'number') frames.u64(value);
      else if (typeof value === 'string') frames.text(value);
      else frames.blob(value);
    }
    return hmacSha256(key, frames.peek());
  }
}

function updateOf(columns: readonly string[]): string {
  return `UPDATE anchor_head SET ${columns.map((column) => `${column} = ?`).join(', ')}, mac = ?, mac_key_id = ? WHERE id = 1`;
}

/** The key of a stored part of the map. @throws integrity when there is no such key: then the part was changed */
export function keyOf(keyring: MacKeys, keyId: string): Parameters<typeof hmacSha256>[0] {
  try {
    return keyring.macKey(keyId).key;
  } catch {
    return refuse('a part of the map names no key of this cell');
  }
}

/** @throws integrity */
export function refuse(evidence: string): never {
  return fail('integrity', 'stored data failed its check', { evidence: `anchor: ${evidence}` });
}
