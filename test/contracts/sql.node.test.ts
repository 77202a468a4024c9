import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { sqlContract } from './sql.contract.ts';

sqlContract('Node, in memory', async (use) => {
  const sql = openNodeSql(':memory:');
  try {
    use(sql);
  } finally {
    sql.close();
  }
});

sqlContract('Node, on disk', async (use) => {
  const directory = mkdtempSync(join(tmpdir(), 'keyturn-sql-'));
  const sql = openNodeSql(join(directory, 'cell.db'));
  try {
    use(sql);
  } finally {
    sql.close();
    rmSync(directory, { recursive: true });
  }
});
