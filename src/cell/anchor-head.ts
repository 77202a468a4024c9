// The head of the map of a cell (anchor.ts): the one row under a MAC of its own that everything else of the map is checked against.
// It must never hand out a head whose MAC does not fit.
import { fail } from '../base/errors.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { equalBytes, hmacSha256 } from '../crypto/primitives.ts';
import type { MacKeys } from '../crypto/row-mac.ts';
import type { Sql, SqlValue } from './sql.ts';

/** A point of the history of the map: the chain over all changes up to this epoch. */
export interface AnchorPosition {
  readonly epoch: number;
  readonly chain: Uint8Array;
}

/** What the audit log keeps in the head. */
export interface LogHead {
  readonly size: number;
  readonly stateSequence: number;
  readonly frontier: Uint8Array;
}

/** What the MAC of the head covers. */
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
/** What changes with a batch that changes a row. */
const MAP_COLUMNS = HEAD_COLUMNS.filter((name) => name !== 'salt' && name !== 'incarnation_id');
/** What changes with every batch, whatever it did. */
const LOG_COLUMNS = ['size', 'state_sequence', 'frontier', 'published', 'time_at'] as const;
/** What a write of the head changes. */
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
  /** The frames that every MAC of this cell's head begins with. */
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

  /** @throws integrity when there is none, or its MAC does not fit */
  read(): HeadFacts {
    const row = this.#sql.get<HeadRow>('SELECT * FROM anchor_head WHERE id = 1') ?? refuse('the head is missing');
    const mac = this.#mac(this.#keyring.macKey(row.mac_key_id).key, row);
    return equalBytes(mac, row.mac) ? row : refuse('the head failed its check');
  }

  /** @param what has changed since it was written last; `all`: there may be none yet */
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

/** @throws integrity */
export function refuse(evidence: string): never {
  return fail('integrity', 'stored data failed its check', { evidence: `anchor: ${evidence}` });
}
